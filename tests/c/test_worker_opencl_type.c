/*
 * test_worker_opencl_type.c - Sizes of OpenCL C types by their names
 */
#include "check.h"
#include "worker/opencl_type.h"

int main(void)
{
    CASE("a scalar and every vector of it have the size that the language gives them");
    CHECK(opencl_type_bytes("char") == 1 && opencl_type_bytes("uchar16") == 16);
    CHECK(opencl_type_bytes("half") == 2 && opencl_type_bytes("short2") == 4);
    CHECK(opencl_type_bytes("int") == 4 && opencl_type_bytes("unsigned int") == 4);
    CHECK(opencl_type_bytes("float3") == 16 && opencl_type_bytes("float4") == 16);
    CHECK(opencl_type_bytes("ulong8") == 64 && opencl_type_bytes("double16") == 128);

    CASE("of any other name nothing is said");
    CHECK(opencl_type_bytes("") == 0 && opencl_type_bytes("int5") == 0);
    CHECK(opencl_type_bytes("integer") == 0 && opencl_type_bytes("float44") == 0);
    CHECK(opencl_type_bytes("int*") == 0 && opencl_type_bytes("struct point") == 0);
    CHECK(opencl_type_bytes("size_t") == 0 && opencl_type_bytes("unsigned") == 0);
    return check_done();
}
