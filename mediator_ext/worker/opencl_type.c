/*
 * opencl_type.c - How large a value of an OpenCL C type is, by its name
 *
 * The sizes are those of the OpenCL C specification (6.1.1 and 6.1.2): a vector of three has the size
 * of one of four.
 */
#include "opencl_type.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    uint32_t bytes;
} scalars[] = {
    {"unsigned char", 1}, {"unsigned short", 2}, {"unsigned int", 4},
    {"unsigned long", 8}, {"char", 1},           {"uchar", 1},
    {"short", 2},         {"ushort", 2},         {"half", 2},
    {"int", 4},           {"uint", 4},           {"float", 4},
    {"long", 8},          {"ulong", 8},          {"double", 8},
};

/* What follows a scalar's name: 1 for nothing, 0 for what makes no vector of it. */
static uint32_t elements(const char *suffix)
{
    static const struct {
        const char *suffix;
        uint32_t elements;
    } vectors[] = {{"", 1}, {"2", 2}, {"3", 4}, {"4", 4}, {"8", 8}, {"16", 16}};

    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
        if (strcmp(vectors[i].suffix, suffix) == 0)
            return vectors[i].elements;
    return 0;
}

uint32_t opencl_type_bytes(const char *name)
{
    for (size_t i = 0; i < sizeof(scalars) / sizeof(scalars[0]); i++) {
        size_t length = strlen(scalars[i].name);

        if (strncmp(scalars[i].name, name, length) == 0 && elements(name + length))
            return scalars[i].bytes * elements(name + length);
    }
    return 0;
}
