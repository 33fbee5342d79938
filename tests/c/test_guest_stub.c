/* sanitizers: address */
/*
 * test_guest_stub.c - The version 1 client: bytes out, answers matched and checked (guest/stub.c)
 *
 * Ids are predictable (1, 2, ...), so the host's answers are put into the socket before the request
 * is made: no second thread.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "guest/vgpu_stub.h"

#define SOON_MS 20

static struct vgpu_stub *stub;
static struct vgpu_stub_answer answer;
static int host;

static void set_up(void)
{
    int ends[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    host = ends[0];
    CHECK(vgpu_stub_connected(ends[1], SOON_MS, &stub) == 0);
}

static void tear_down(void)
{
    vgpu_stub_close(stub);
    if (host != -1)
        close(host);
}

static void say(uint32_t type, uint32_t id, const void *payload, uint32_t bytes)
{
    const struct wire_header header = {.magic = WIRE_MAGIC,
                                       .type = type,
                                       .vm_id = 3,
                                       .request_id = id,
                                       .pool_id = 'A',
                                       .priority = 2,
                                       .payload_len = bytes};

    CHECK(send(host, &header, sizeof(header), MSG_NOSIGNAL) == sizeof(header));
    if (bytes)
        CHECK(send(host, payload, bytes, MSG_NOSIGNAL) == (ssize_t)bytes);
}

static void say_response(uint32_t id, uint32_t status, uint32_t result)
{
    const struct {
        struct wire_response response;
        uint32_t result;
    } payload = {.response = {.version = WIRE_VERSION,
                              .status = status,
                              .result_count = 1,
                              .data_offset = 36,
                              .exec_time_us = 77},
                 .result = result};

    say(WIRE_RESPONSE, id, &payload, sizeof(payload));
}

static int add(void)
{
    const uint32_t params[] = {40, 2};

    return vgpu_stub_request(stub, WIRE_OP_VECTOR_ADD, params, 2, &answer);
}

static void bytes_of_a_request(void)
{
    const uint32_t expected[] = {0x56475055, 1, 0, 1, 0,  40,               /* header */
                                 0x00010000, 1, 0, 2, 40, 0,  0, 0, 40, 2}; /* request, params */
    uint8_t seen[sizeof(expected) + 1];

    CASE("a vector add is these 64 bytes, and its result is read");
    set_up();
    say_response(1, WIRE_OK, 42);
    CHECK(add() == 0);
    CHECK(answer.type == WIRE_RESPONSE && answer.status == WIRE_OK);
    CHECK(answer.result_count == 1 && answer.results[0] == 42 && answer.exec_time_us == 77);
    CHECK(answer.vm_id == 3 && answer.pool_id == 'A' && answer.priority == 2);
    CHECK(recv(host, seen, sizeof(seen), 0) == sizeof(expected));
    CHECK(memcmp(seen, expected, sizeof(expected)) == 0);
    tear_down();
}

static void refusals(void)
{
    CASE("a refusal's status, BUSY and QUARANTINED are answers, and the connection goes on");
    set_up();
    say_response(1, WIRE_INVALID_POOL, 0);
    CHECK(add() == 0 && answer.status == WIRE_INVALID_POOL);
    say(WIRE_BUSY, 2, NULL, 0);
    CHECK(add() == 0 && answer.type == WIRE_BUSY && answer.status == WIRE_QUEUE_FULL);
    say(WIRE_QUARANTINED, 3, NULL, 0);
    CHECK(add() == 0 && answer.type == WIRE_QUARANTINED);
    say_response(4, WIRE_OK, 1);
    CHECK(add() == 0 && answer.status == WIRE_OK);
    tear_down();
}

static void answers_are_matched(void)
{
    CASE("a late answer to a request that was given up is passed over");
    set_up();
    CHECK(add() == -ETIMEDOUT);
    say_response(1, WIRE_OK, 1111);
    say_response(2, WIRE_OK, 2222);
    CHECK(add() == 0 && answer.results[0] == 2222);
    tear_down();

    CASE("an answer to a request that was never made is refused, and so is everything after it");
    set_up();
    say_response(2, WIRE_OK, 1);
    CHECK(add() == -EPROTO);
    CHECK(add() == -EPROTO);
    CHECK(vgpu_stub_ping(stub) == -EPROTO);
    tear_down();
}

static void pings(void)
{
    struct wire_header header;

    CASE("a ping is answered by a pong without an id, also after one that was given up");
    set_up();
    say(WIRE_PONG, 0, NULL, 0);
    CHECK(vgpu_stub_ping(stub) == 0);
    CHECK(vgpu_stub_ping(stub) == -ETIMEDOUT);
    say(WIRE_PONG, 0, NULL, 0);
    say_response(1, WIRE_OK, 5);
    CHECK(add() == 0 && answer.results[0] == 5);
    tear_down();

    CASE("the host's own ping is answered while we wait");
    set_up();
    say(WIRE_PING, 0, NULL, 0);
    say_response(1, WIRE_OK, 5);
    CHECK(vgpu_stub_request(stub, WIRE_OP_NOP, NULL, 0, &answer) == 0);
    CHECK(recv(host, &header, sizeof(header), 0) == sizeof(header) && header.type == WIRE_REQUEST);
    {
        struct wire_request request;

        CHECK(recv(host, &request, sizeof(request), 0) == sizeof(request));
    }
    CHECK(recv(host, &header, sizeof(header), 0) == sizeof(header) && header.type == WIRE_PONG);
    tear_down();
}

static int response_with(const struct wire_response *response, uint32_t bytes)
{
    uint8_t payload[WIRE_REQUEST_MAX + 64] = {0};
    int rc;

    memcpy(payload, response, sizeof(*response));
    set_up();
    say(WIRE_RESPONSE, 1, payload, bytes);
    rc = add();
    tear_down();
    return rc;
}

static void malformed_answers(void)
{
    struct wire_response good = {.version = WIRE_VERSION, .result_count = 1, .data_offset = 36};
    struct wire_response bad;

    CASE("answers whose lengths contradict each other are refused");
    CHECK(response_with(&good, 36) == 0);
    CHECK(response_with(&good, 31) == -EPROTO);
    CHECK(response_with(&good, WIRE_REQUEST_MAX + 1) == -EPROTO);
    bad = good;
    bad.version = 2;
    CHECK(response_with(&bad, 36) == -EPROTO);
    bad = good;
    bad.result_count = 2;
    CHECK(response_with(&bad, 36) == -EPROTO);
    bad.result_count = UINT32_MAX;
    CHECK(response_with(&bad, 36) == -EPROTO);
    bad = good;
    bad.data_length = 4;
    CHECK(response_with(&bad, 36) == -EPROTO);
    bad.data_offset = UINT32_MAX;
    CHECK(response_with(&bad, 40) == -EPROTO);
    bad.data_offset = 4;
    CHECK(response_with(&bad, 40) == -EPROTO);
    bad.data_offset = 36;
    CHECK(response_with(&bad, 40) == 0 && answer.data_bytes == 4);

    CASE("a wrong magic or an unknown type is refused");
    {
        const struct wire_header header = {.magic = 1, .type = WIRE_RESPONSE, .request_id = 1};

        set_up();
        CHECK(send(host, &header, sizeof(header), 0) == sizeof(header));
        CHECK(add() == -EPROTO);
        tear_down();
        set_up();
        say(0x55, 1, NULL, 0);
        CHECK(add() == -EPROTO);
        tear_down();
    }
}

static void the_connection_ends(void)
{
    CASE("a closed connection is told from a timeout, and half an answer from none");
    set_up();
    close(host);
    host = -1;
    CHECK(add() == -EPIPE);
    CHECK(add() == -EPIPE);
    tear_down();
    set_up();
    CHECK(send(host, "UPGV", 4, 0) == 4);
    CHECK(add() == -ETIMEDOUT);
    CHECK(add() == -ETIMEDOUT); /* and it stays so: the boundary is lost */
    say_response(2, WIRE_OK, 1);
    CHECK(add() == -ETIMEDOUT);
    tear_down();
}

static void cuda_calls(void)
{
    struct wire_cuda_result result = {
        .magic = WIRE_MAGIC, .seq_num = 1, .status = WIRE_CUDA_NOT_SUPPORTED};
    static uint8_t with_data[sizeof(result) + 100000];
    struct vgpu_stub_cuda cuda;

    CASE("a CUDA call is answered by a CUDA result, whose bulk data is dropped");
    set_up();
    say(WIRE_CUDA_RESULT, 1, &result, sizeof(result));
    CHECK(vgpu_stub_cuda_call(stub, 1, &cuda) == 0);
    CHECK(cuda.type == WIRE_CUDA_RESULT && cuda.status == WIRE_CUDA_NOT_SUPPORTED);
    result = (struct wire_cuda_result){
        .magic = WIRE_MAGIC, .seq_num = 2, .num_results = 1, .results = {9}};
    result.data_len = 100000;
    memcpy(with_data, &result, sizeof(result));
    say(WIRE_CUDA_RESULT, 2, with_data, sizeof(with_data));
    CHECK(vgpu_stub_cuda_call(stub, 1, &cuda) == 0);
    CHECK(cuda.results[0] == 9 && cuda.data_bytes == 100000);
    say_response(3, WIRE_OK, 6);
    CHECK(add() == 0 && answer.results[0] == 6);

    CASE("a refused CUDA call says what refused it");
    say(WIRE_BUSY, 4, NULL, 0);
    CHECK(vgpu_stub_cuda_call(stub, 1, &cuda) == 0 && cuda.type == WIRE_BUSY);
    say_response(5, WIRE_INVALID_POOL, 0);
    CHECK(vgpu_stub_cuda_call(stub, 1, &cuda) == 0 && cuda.wire_status == WIRE_INVALID_POOL);

    CASE("a CUDA result of another call, or with wrong lengths, is refused");
    say(WIRE_CUDA_RESULT, 6, &result, sizeof(result));
    CHECK(vgpu_stub_cuda_call(stub, 1, &cuda) == -EPROTO);
    tear_down();
}

int main(void)
{
    bytes_of_a_request();
    refusals();
    answers_are_matched();
    pings();
    malformed_answers();
    the_connection_ends();
    cuda_calls();
    return check_done();
}
