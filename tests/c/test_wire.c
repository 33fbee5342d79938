/*
 * test_wire.c - Every byte of the version 1 framing
 *
 * Bytes are written out here as the stub device sends and expects them (little-endian, no padding),
 * independently of the structures of wire_format.h.
 */
#include <string.h>

#include "check.h"
#include "wire.h"

#define HEADER 24

static void put32(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> 8 * i);
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static void put_header(uint8_t out[HEADER], uint32_t type, uint32_t payload_len)
{
    static const uint8_t magic[4] = {0x55, 0x50, 0x47, 0x56};

    memcpy(out, magic, 4);
    put32(out + 4, type);
    put32(out + 8, 0x01020304);
    put32(out + 12, 0x0a0b0c0d);
    out[16] = 'B';
    out[17] = 2;
    out[18] = 0xee; /* padding: to be ignored */
    out[19] = 0xff;
    put32(out + 20, payload_len);
}

/* A REQUEST payload of @words 32-bit words. Return: the whole length */
static size_t put_request(uint8_t *out, const uint32_t *words, uint32_t count)
{
    put_header(out, 0x01, 4 * count);
    for (uint32_t i = 0; i < count; i++)
        put32(out + HEADER + 4 * i, words[i]);
    return HEADER + 4 * count;
}

static enum wire_status request_status(const uint32_t *words, uint32_t count,
                                       struct wire_parsed_request *request)
{
    uint8_t bytes[2048];
    size_t length = put_request(bytes, words, count), used;
    struct wire_frame frame;

    CHECK(wire_parse(bytes, length, &frame, &used) == WIRE_FRAME);
    return wire_parse_request(&frame, request);
}

static void test_header(void)
{
    uint8_t bytes[HEADER + 64] = {0};
    struct wire_frame frame;
    size_t used = 0;

    CASE("a header is 24 bytes, little-endian, in the order of the stub device");
    put_header(bytes, 0x03, 0);
    CHECK(wire_parse(bytes, HEADER, &frame, &used) == WIRE_FRAME && used == HEADER);
    CHECK(frame.header.magic == 0x56475055 && frame.header.type == 0x03);
    CHECK(frame.header.vm_id == 0x01020304 && frame.header.request_id == 0x0a0b0c0d);
    CHECK(frame.header.pool_id == 'B' && frame.header.priority == 2);
    CHECK(frame.header.payload_len == 0 && frame.kept == 0 && frame.skip == 0);

    CASE("a header that is cut anywhere needs more");
    for (size_t length = 0; length < HEADER; length++)
        CHECK(wire_parse(bytes, length, &frame, &used) == WIRE_NEED_MORE);

    CASE("a wrong magic is seen as soon as its four bytes are there");
    for (int bit = 0; bit < 32; bit++) {
        put_header(bytes, 0x03, 0);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        CHECK(wire_parse(bytes, 3, &frame, &used) == WIRE_NEED_MORE);
        CHECK(wire_parse(bytes, 4, &frame, &used) == WIRE_LOST);
        CHECK(wire_parse(bytes, HEADER, &frame, &used) == WIRE_LOST);
    }
}

static void test_payload(void)
{
    static uint8_t bytes[HEADER + 4096];
    struct wire_frame frame;
    size_t used;

    CASE("a request is complete with its last byte, and not before");
    put_header(bytes, 0x01, 100);
    for (size_t length = HEADER; length < HEADER + 100; length++)
        CHECK(wire_parse(bytes, length, &frame, &used) == WIRE_NEED_MORE);
    CHECK(wire_parse(bytes, sizeof(bytes), &frame, &used) == WIRE_FRAME && used == HEADER + 100);
    CHECK(frame.payload == bytes + HEADER && frame.kept == 100 && frame.skip == 0);

    CASE("a request of 1024 bytes is kept whole; of a longer one the rest is skipped");
    put_header(bytes, 0x01, 1024);
    CHECK(wire_parse(bytes, sizeof(bytes), &frame, &used) == WIRE_FRAME && used == HEADER + 1024);
    CHECK(frame.skip == 0);
    put_header(bytes, 0x01, 1025);
    CHECK(wire_parse(bytes, HEADER + 1024, &frame, &used) == WIRE_FRAME && used == HEADER + 1024);
    CHECK(frame.skip == 1);

    CASE("of a CUDA call 88 bytes are kept, whatever it declares");
    put_header(bytes, 0x10, 0xffffffff);
    CHECK(wire_parse(bytes, HEADER + 87, &frame, &used) == WIRE_NEED_MORE);
    CHECK(wire_parse(bytes, HEADER + 88, &frame, &used) == WIRE_FRAME && used == HEADER + 88);
    CHECK(frame.kept == 88 && frame.skip == 0xffffffffull - 88);
    put_header(bytes, 0x10, 10);
    CHECK(wire_parse(bytes, sizeof(bytes), &frame, &used) == WIRE_FRAME && frame.kept == 10);

    CASE("of any other frame nothing is kept");
    for (uint32_t type = 0; type < 0x20; type++) {
        if (type == 0x01 || type == 0x10)
            continue;
        put_header(bytes, type, 3u << 30);
        CHECK(wire_parse(bytes, HEADER, &frame, &used) == WIRE_FRAME && used == HEADER);
        CHECK(frame.kept == 0 && frame.skip == 3ull << 30);
    }
}

static void test_request(void)
{
    struct wire_parsed_request request = {0};

    CASE("the three operations are understood");
    CHECK(request_status((uint32_t[]){0x10000, 0x0000, 0, 0, 32, 0, 0, 0}, 8, &request) == 0x00);
    CHECK(request.opcode == WIRE_OP_NOP);
    CHECK(request_status((uint32_t[]){0x10000, 0x0005, 0, 0, 32, 0, 0, 0}, 8, &request) == 0x00);
    CHECK(request.opcode == WIRE_OP_GET_DEVICE_INFO);
    CHECK(request_status((uint32_t[]){0x10000, 0x0001, 0, 2, 40, 0, 0, 0, 7, 0xfffffff0}, 10,
                         &request) == 0x00);
    CHECK(request.opcode == WIRE_OP_VECTOR_ADD && request.params[0] == 7 &&
          request.params[1] == 0xfffffff0);

    CASE("parameters and data that an operation does not need are allowed");
    CHECK(request_status((uint32_t[]){0x10000, 0, 0, 1, 36, 4, 0, 0, 1, 2}, 10, &request) == 0);
    CHECK(request_status((uint32_t[]){0x10000, 0, 0, 0, 0xffffffff, 0, 0, 0}, 8, &request) == 0);
}

struct bad {
    const char *what;
    uint32_t words[12];
    uint32_t count;
    enum wire_status status;
};

static void test_malformed(void)
{
    static const struct bad table[] = {
        {"empty", {0}, 0, WIRE_INVALID_LENGTH},
        {"one word short", {0x10000, 0, 0, 0, 32, 0, 0}, 7, WIRE_INVALID_LENGTH},
        {"version 0", {0, 0, 0, 0, 32, 0, 0, 0}, 8, WIRE_INVALID_REQUEST},
        {"version 2.0", {0x20000, 0, 0, 0, 32, 0, 0, 0}, 8, WIRE_INVALID_REQUEST},
        {"flags", {0x10000, 0, 1, 0, 32, 0, 0, 0}, 8, WIRE_INVALID_REQUEST},
        {"reserved 0", {0x10000, 0, 0, 0, 32, 0, 1, 0}, 8, WIRE_INVALID_REQUEST},
        {"reserved 1", {0x10000, 0, 0, 0, 32, 0, 0, 1}, 8, WIRE_INVALID_REQUEST},
        {"parameters beyond the end", {0x10000, 0, 0, 1, 36, 0, 0, 0}, 8, WIRE_INVALID_LENGTH},
        {"2^30 parameters: 4 times that is 0",
         {0x10000, 0, 0, 1u << 30, 32, 0, 0, 0},
         8,
         WIRE_INVALID_LENGTH},
        {"2^32 - 1 parameters", {0x10000, 1, 0, 0xffffffff, 32, 0, 0, 0}, 8, WIRE_INVALID_LENGTH},
        {"data beyond the end", {0x10000, 0, 0, 0, 32, 1, 0, 0}, 8, WIRE_INVALID_LENGTH},
        {"data that starts beyond the end",
         {0x10000, 0, 0, 0, 33, 1, 0, 0},
         8,
         WIRE_INVALID_LENGTH},
        {"data whose end wraps",
         {0x10000, 0, 0, 0, 0xfffffff0, 0x20, 0, 0},
         8,
         WIRE_INVALID_LENGTH},
        {"data whose length wraps",
         {0x10000, 0, 0, 0, 16, 0xffffffff, 0, 0},
         8,
         WIRE_INVALID_LENGTH},
        {"a vector add of one", {0x10000, 1, 0, 1, 36, 0, 0, 0, 5}, 9, WIRE_INVALID_REQUEST},
        {"a vector add of none", {0x10000, 1, 0, 0, 32, 0, 0, 0}, 8, WIRE_INVALID_REQUEST},
        {"a vector add of three",
         {0x10000, 1, 0, 3, 44, 0, 0, 0, 5, 6, 7},
         11,
         WIRE_INVALID_REQUEST},
        {"operation 2", {0x10000, 2, 0, 0, 32, 0, 0, 0}, 8, WIRE_UNSUPPORTED},
        {"operation 2^32 - 1", {0x10000, 0xffffffff, 0, 0, 32, 0, 0, 0}, 8, WIRE_UNSUPPORTED},
    };
    static uint8_t bytes[HEADER + 2048];
    struct wire_parsed_request request;
    struct wire_frame frame;
    size_t used;

    CASE("a malformed request is refused with the status that says what is wrong");
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        enum wire_status status = request_status(table[i].words, table[i].count, &request);

        if (status != table[i].status)
            fprintf(stderr, "%s: status %d\n", table[i].what, (int)status);
        CHECK(status == table[i].status);
    }
    put_header(bytes, 0x01, 1025);
    CHECK(wire_parse(bytes, sizeof(bytes), &frame, &used) == WIRE_FRAME);
    CHECK(wire_parse_request(&frame, &request) == WIRE_TOO_LARGE);
}

static void test_answers(void)
{
    const struct wire_header echo = {.magic = 1,
                                     .type = 0x01,
                                     .vm_id = 0x11223344,
                                     .request_id = 0x55667788,
                                     .pool_id = 'C',
                                     .priority = 1,
                                     .pad = 0xffff,
                                     .payload_len = 99};
    uint8_t out[WIRE_ANSWER_MAX];
    const uint8_t data[5] = {1, 2, 3, 4, 5};
    const uint32_t result = 0xdeadbeef;

    CASE("a PONG echoes the vm_id and nothing else");
    memset(out, 0xaa, sizeof(out));
    CHECK(wire_write_pong(out, 0x01020304) == HEADER);
    CHECK(memcmp(out, (uint8_t[]){0x55, 0x50, 0x47, 0x56, 4, 0, 0, 0, 4, 3, 2, 1,
                                  0,    0,    0,    0,    0, 0, 0, 0, 0, 0, 0, 0},
                 HEADER) == 0);

    CASE("BUSY and QUARANTINED echo vm_id, request_id, pool and priority, without a payload");
    CHECK(wire_write_plain(out, &echo, WIRE_BUSY) == HEADER);
    CHECK(memcmp(out, (uint8_t[]){0x55, 0x50, 0x47, 0x56, 5,   0, 0, 0, 0x44, 0x33, 0x22, 0x11,
                                  0x88, 0x77, 0x66, 0x55, 'C', 1, 0, 0, 0,    0,    0,    0},
                 HEADER) == 0);
    CHECK(wire_write_plain(out, &echo, WIRE_QUARANTINED) == HEADER && out[4] == 6);

    CASE("the RESPONSE of a vector add is 36 bytes: header, one result");
    CHECK(wire_write_response(out, &echo, WIRE_OK, 1234, &result, NULL, 0) == HEADER + 36);
    CHECK(out[4] == 2 && get32(out + 20) == 36 && get32(out + 12) == 0x55667788);
    CHECK(out[16] == 'C' && out[17] == 1 && out[18] == 0 && out[19] == 0);
    CHECK(get32(out + 24) == 0x10000 && get32(out + 28) == 0 && get32(out + 32) == 1);
    CHECK(get32(out + 36) == 36 && get32(out + 40) == 0 && get32(out + 44) == 1234);
    CHECK(get32(out + 48) == 0 && get32(out + 52) == 0 && get32(out + 56) == 0xdeadbeef);

    CASE("the RESPONSE of an error is 32 bytes with the status");
    CHECK(wire_write_response(out, &echo, WIRE_TIMEOUT, 7, NULL, NULL, 0) == HEADER + 32);
    CHECK(get32(out + 20) == 32 && get32(out + 28) == 4 && get32(out + 32) == 0);
    CHECK(get32(out + 36) == 32 && get32(out + 40) == 0);

    CASE("data stands behind the results, where data_offset says");
    CHECK(wire_write_response(out, &echo, WIRE_OK, 0, NULL, data, 5) == HEADER + 37);
    CHECK(get32(out + 36) == 32 && get32(out + 40) == 5 && get32(out + 20) == 37);
    CHECK(memcmp(out + HEADER + 32, data, 5) == 0);
    CHECK(wire_write_response(out, &echo, WIRE_OK, 0, &result, data, 5) == HEADER + 41);
    CHECK(get32(out + 36) == 36 && memcmp(out + HEADER + 36, data, 5) == 0);

    CASE("a CUDA_RESULT is 88 bytes, echoes request_id and seq_num, and says 801");
    memset(out, 0xaa, sizeof(out));
    CHECK(wire_write_cuda_refusal(out, &echo, 0xcafe, WIRE_CUDA_NOT_SUPPORTED) == HEADER + 88);
    CHECK(out[4] == 0x11 && get32(out + 12) == 0x55667788 && get32(out + 20) == 88);
    CHECK(get32(out + 24) == 0x56475055 && get32(out + 28) == 0xcafe && get32(out + 32) == 801);
    for (int i = 36; i < HEADER + 88; i++)
        CHECK(out[i] == 0);
}

static void test_statuses(void)
{
    CASE("each engine status has the stub's code, and only success is 0");
    CHECK(wire_status_of(VGPU_OK) == 0x00);
    for (int status = 1; status < VGPU_STATUS_COUNT; status++)
        CHECK(wire_status_of((enum vgpu_status)status) != WIRE_OK);
    CHECK(wire_status_of(VGPU_TIMEOUT) == 0x04 && wire_status_of(VGPU_POOL_DISABLED) == 0x06);
    CHECK(wire_status_of(VGPU_BUSY) == 0x07 && wire_status_of(VGPU_UNSUPPORTED) == 0x08);
    CHECK(wire_status_of(VGPU_RATE) == 0x0a && wire_status_of(VGPU_QUARANTINED) == 0x0b);
    CHECK(wire_status_of(VGPU_FAILED) == 0x05 && wire_status_of(VGPU_NO_CONTEXT) == 0x03);
    CHECK(wire_status_of(VGPU_DEVICE_LOST) == 0x0c && wire_status_of(VGPU_CANCELLED) == 0x0d);
}

int main(void)
{
    test_header();
    test_payload();
    test_request();
    test_malformed();
    test_answers();
    test_statuses();
    return check_done();
}
