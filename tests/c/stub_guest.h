/*
 * stub_guest.h - What a version 1 client asks most often
 */
#ifndef VGPUD_TESTS_STUB_GUEST_H
#define VGPUD_TESTS_STUB_GUEST_H

#include <stdbool.h>
#include <string.h>

#include "engine_rig.h"

#define FRAME_MAX (sizeof(struct wire_header) + WIRE_REQUEST_MAX)

static inline struct wire_response response_of(const struct rig_answer *answer)
{
    struct wire_response response;

    memcpy(&response, answer->payload, sizeof(response));
    return response;
}

static inline bool answered(int client, uint32_t request_id, enum wire_status status,
                            struct rig_answer *answer)
{
    if (!rig_receive(client, answer))
        return false;
    return answer->header.type == WIRE_RESPONSE && answer->header.request_id == request_id &&
           response_of(answer).status == (uint32_t)status;
}

/* Does a NOP get through? What the tests below do to others must not hinder this. */
static inline bool nop_works(int client, uint32_t request_id)
{
    uint8_t frame[FRAME_MAX];
    struct rig_answer answer;

    return rig_send(client, frame, rig_request(frame, request_id, WIRE_OP_NOP, NULL, 0)) &&
           answered(client, request_id, WIRE_OK, &answer);
}

#endif
