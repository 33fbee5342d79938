/*
 * engine_rig_stub.c - A version 1 client for the test bench
 */
#include "engine_rig.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

int rig_connect(const char *path)
{
    const struct timeval limit = {.tv_sec = RIG_LONG_MS / 1000};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    rig_must(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
                 setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) == 0 &&
                 setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) == 0,
             "a connection");
    return fd;
}

size_t rig_frame(uint8_t *out, uint32_t type, uint32_t vm_id, uint32_t request_id,
                 const void *payload, uint32_t length)
{
    const struct wire_header header = {.magic = WIRE_MAGIC,
                                       .type = type,
                                       .vm_id = vm_id,
                                       .request_id = request_id,
                                       .pool_id = 'A',
                                       .priority = 1,
                                       .payload_len = length};

    memcpy(out, &header, sizeof(header));
    if (length && payload)
        memcpy(out + sizeof(header), payload, length);
    return sizeof(header) + length;
}

size_t rig_request(uint8_t *out, uint32_t request_id, uint32_t opcode, const uint32_t *params,
                   uint32_t count)
{
    uint8_t payload[sizeof(struct wire_request) + 64];
    const struct wire_request request = {
        .version = WIRE_VERSION,
        .opcode = opcode,
        .param_count = count,
        .data_offset = (uint32_t)sizeof(request) + 4 * count,
    };

    memcpy(payload, &request, sizeof(request));
    if (count)
        memcpy(payload + sizeof(request), params, 4 * count);
    return rig_frame(out, WIRE_REQUEST, 0, request_id, payload,
                     (uint32_t)sizeof(request) + 4 * count);
}

bool rig_send(int socket, const void *bytes, size_t length)
{
    return send(socket, bytes, length, MSG_NOSIGNAL) == (ssize_t)length;
}

bool rig_receive(int socket, struct rig_answer *answer)
{
    memset(answer, 0, sizeof(*answer));
    if (recv(socket, &answer->header, sizeof(answer->header), MSG_WAITALL) !=
        (ssize_t)sizeof(answer->header))
        return false;
    if (answer->header.payload_len == 0)
        return true;
    return answer->header.payload_len <= sizeof(answer->payload) &&
           recv(socket, answer->payload, answer->header.payload_len, MSG_WAITALL) ==
               (ssize_t)answer->header.payload_len;
}

bool rig_closed(int socket)
{
    uint8_t byte;
    ssize_t length = recv(socket, &byte, 1, 0);

    return length == 0 || (length < 0 && errno == ECONNRESET);
}
