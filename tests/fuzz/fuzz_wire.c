/*
 * fuzz_wire.c - The version 1 parser on arbitrary bytes
 *
 * The input is a stream. It is parsed whole, and once more cut at its first byte's place: both must
 * see the same frames.
 */
#include <stdbool.h>
#include <string.h>

#include "replay.h"
#include "wire.h"

struct sum {
    uint64_t frames, statuses, bytes;
};

/* Parse what is there. Return: bytes used */
static size_t parse(const uint8_t *data, size_t size, struct sum *sum, bool *lost, uint64_t *skip)
{
    size_t at = 0;

    *lost = false;
    while (at < size) {
        size_t used = 0, skipped = *skip < size - at ? (size_t)*skip : size - at;
        struct wire_frame frame;
        struct wire_parsed_request request = {0};
        enum wire_parsed parsed;

        at += skipped;
        *skip -= skipped;
        if (*skip || at == size)
            break;
        parsed = wire_parse(data + at, size - at, &frame, &used);
        *lost = parsed == WIRE_LOST;
        if (parsed != WIRE_FRAME)
            break;
        FUZZ_CHECK(used >= sizeof(struct wire_header) && used <= size - at &&
                   used <= WIRE_KEEP_MAX);
        FUZZ_CHECK(frame.payload == data + at + sizeof(struct wire_header));
        FUZZ_CHECK(frame.kept == used - sizeof(struct wire_header));
        FUZZ_CHECK(frame.kept + frame.skip == frame.header.payload_len);
        sum->frames++;
        if (frame.header.type == WIRE_REQUEST)
            sum->statuses = sum->statuses * 31 + wire_parse_request(&frame, &request);
        sum->bytes += request.params[0] ^ request.params[1] ^ frame.header.request_id;
        *skip = frame.skip;
        at += used;
    }
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sum whole = {0}, parts = {0};
    bool lost_whole, lost_parts;
    uint64_t skip = 0;
    size_t cut, used;

    if (size < 1)
        return 0;
    cut = 1 + data[0] % size;
    data++;
    size--;
    cut = cut > size ? size : cut;
    parse(data, size, &whole, &lost_whole, &skip);
    skip = 0;
    used = parse(data, cut, &parts, &lost_parts, &skip);
    if (!lost_parts)
        parse(data + used, size - used, &parts, &lost_parts, &skip);
    FUZZ_CHECK(lost_whole == lost_parts && memcmp(&whole, &parts, sizeof(whole)) == 0);
    return 0;
}
