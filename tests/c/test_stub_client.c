/*
 * test_stub_client.c - Version 1 clients of all kinds against a running engine
 */
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "check.h"
#include "fake_worker.h"
#include "stub_guest.h"

static void test_operations(struct mediator *m, struct rig_vm *vm, struct fake_worker *worker)
{
    const uint32_t params[2] = {40, 0xfffffffe};
    const struct vgpu_device_info device = rig_device();
    uint8_t frame[FRAME_MAX];
    struct rig_answer answer;
    int client = rig_connect(vm->stub_path);
    uint32_t sum;

    CASE("a NOP is answered OK, its id, pool and priority echoed, and the connection kept");
    CHECK(rig_send(client, frame, rig_request(frame, 77, WIRE_OP_NOP, NULL, 0)));
    CHECK(answered(client, 77, WIRE_OK, &answer));
    CHECK(answer.header.pool_id == 'A' && answer.header.priority == 1 && answer.header.vm_id == 0);
    CHECK(nop_works(client, 78));

    CASE("GET_DEVICE_INFO is answered with the device's description");
    CHECK(rig_send(client, frame, rig_request(frame, 79, WIRE_OP_GET_DEVICE_INFO, NULL, 0)));
    CHECK(answered(client, 79, WIRE_OK, &answer));
    CHECK(response_of(&answer).data_offset == 32 &&
          response_of(&answer).data_length == sizeof(device));
    CHECK(memcmp(answer.payload + 32, &device, sizeof(device)) == 0);

    CASE("without a device GET_DEVICE_INFO says UNAVAILABLE");
    CHECK(mediator_set_device(m, NULL, 0) == 0);
    CHECK(rig_send(client, frame, rig_request(frame, 80, WIRE_OP_GET_DEVICE_INFO, NULL, 0)));
    CHECK(answered(client, 80, WIRE_UNAVAILABLE, &answer));
    CHECK(mediator_set_device(m, &device, sizeof(device)) == 0);

    CASE("a vector add is run by the VM's worker and answered with the sum");
    fake_worker_start(worker, NULL, NULL);
    CHECK(rig_send(client, frame, rig_request(frame, 81, WIRE_OP_VECTOR_ADD, params, 2)));
    CHECK(answered(client, 81, WIRE_OK, &answer));
    memcpy(&sum, answer.payload + 32, 4);
    CHECK(sum == 38 && response_of(&answer).result_count == 1 && answer.header.payload_len == 36);
    fake_worker_stop(worker);

    CASE("a PING is answered with a PONG that echoes the vm_id alone; a PONG with nothing");
    CHECK(rig_send(client, frame, rig_frame(frame, WIRE_PONG, 0, 5, NULL, 0)));
    CHECK(rig_send(client, frame, rig_frame(frame, WIRE_PING, vm->identity.vm_id, 5, NULL, 0)));
    CHECK(rig_receive(client, &answer) && answer.header.type == WIRE_PONG);
    CHECK(answer.header.vm_id == vm->identity.vm_id && answer.header.request_id == 0 &&
          answer.header.pool_id == 0 && answer.header.payload_len == 0);
    close(client);
    CHECK(RIG_UNTIL(m, vm, stub_connected, 0));
}

static void test_cuda(struct mediator *m, struct rig_vm *vm)
{
    struct wire_cuda_call call = {.magic = WIRE_MAGIC, .call_id = 0x30, .seq_num = 0xabcd};
    static uint8_t bulk[100000];
    struct wire_cuda_result result;
    uint8_t frame[FRAME_MAX];
    struct rig_answer answer;
    int client = rig_connect(vm->stub_path);
    struct wire_header header;

    CASE("a CUDA call is answered NOT_SUPPORTED with its sequence number, its bulk data skipped");
    CHECK(rig_frame(frame, WIRE_CUDA_CALL, 0, 9, &call, sizeof(call)) == 112);
    memcpy(&header, frame, sizeof(header));
    header.payload_len += sizeof(bulk);
    memcpy(frame, &header, sizeof(header));
    CHECK(rig_send(client, frame, 112));
    CHECK(rig_receive(client, &answer)); /* it does not wait for the bulk */
    memcpy(&result, answer.payload, sizeof(result));
    CHECK(answer.header.type == WIRE_CUDA_RESULT && answer.header.request_id == 9);
    CHECK(result.magic == WIRE_MAGIC && result.seq_num == 0xabcd && result.status == 801);
    CHECK(result.num_results == 0 && result.data_len == 0);
    CHECK(rig_send(client, bulk, sizeof(bulk)));
    CHECK(nop_works(client, 10));

    CASE("a frame that declares 3 GiB is answered at once and its payload thrown away as it comes");
    header.payload_len = 3u << 30;
    memcpy(frame, &header, sizeof(header));
    CHECK(rig_send(client, frame, 112));
    CHECK(rig_receive(client, &answer) && answer.header.type == WIRE_CUDA_RESULT);
    for (int i = 0; i < 20; i++)
        CHECK(rig_send(client, bulk, sizeof(bulk)));
    close(client);
    CHECK(RIG_UNTIL(m, vm, stub_connected, 0));
    client = rig_connect(vm->stub_path);
    CHECK(nop_works(client, 11));

    CASE("a CUDA call without its header is refused, and the connection kept");
    CHECK(rig_send(client, frame, rig_frame(frame, WIRE_CUDA_CALL, 0, 12, bulk, 87)));
    CHECK(answered(client, 12, WIRE_INVALID_LENGTH, &answer));
    CHECK(nop_works(client, 13));
    close(client);
    CHECK(RIG_UNTIL(m, vm, stub_connected, 0));
}

static void test_splits(struct mediator *m, struct rig_vm *vm, struct fake_worker *worker)
{
    const uint32_t params[2] = {1, 2};
    uint8_t bytes[4 * FRAME_MAX];
    size_t length;
    struct rig_answer answer;
    int client = rig_connect(vm->stub_path);

    CASE("frames may be split at every byte");
    fake_worker_start(worker, NULL, NULL);
    length = rig_request(bytes, 1, WIRE_OP_VECTOR_ADD, params, 2);
    length += rig_frame(bytes + length, WIRE_PING, 0, 0, NULL, 0);
    length += rig_request(bytes + length, 2, WIRE_OP_NOP, NULL, 0);
    for (size_t split = 1; split < length; split++) {
        CHECK(rig_send(client, bytes, split));
        (void)rig_stats(m, vm); /* the engine has turned: it has seen the first part */
        CHECK(rig_send(client, bytes + split, length - split));
        for (int answers = 0, pongs = 0; answers < 3; answers++) {
            CHECK(rig_receive(client, &answer));
            pongs += answer.header.type == WIRE_PONG;
            CHECK(answers < 2 || pongs == 1);
        }
    }
    for (size_t i = 0; i < length; i++) {
        CHECK(rig_send(client, bytes + i, 1));
        (void)rig_stats(m, vm);
    }
    for (int answers = 0; answers < 3; answers++)
        CHECK(rig_receive(client, &answer));
    fake_worker_stop(worker);
    close(client);
    CHECK(RIG_UNTIL(m, vm, stub_connected, 0));
}

static void test_pipelining(struct mediator *m, struct rig_vm *vm)
{
    enum { MANY = 4000 };
    static uint8_t bytes[MANY * 64];
    size_t length = 0, sent = 0;
    struct rig_answer answer;
    int client = rig_connect(vm->stub_path);
    uint32_t next = 0;

    CASE("thousands of pipelined requests are each answered once, in order");
    for (uint32_t i = 0; i < MANY; i++)
        length += rig_request(bytes + length, i, WIRE_OP_NOP, NULL, 0);
    while (next < MANY) {
        if (sent < length) {
            ssize_t rc = send(client, bytes + sent, length - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

            sent += rc > 0 ? (size_t)rc : 0;
        }
        if (!answered(client, next, WIRE_OK, &answer))
            break;
        next++;
    }
    CHECK(next == MANY);

    CASE("a client that reads nothing until all is sent still gets every answer");
    sent = 0;
    while (sent < length) {
        struct pollfd poll_fd = {.fd = client, .events = POLLOUT};
        ssize_t rc;

        if (poll(&poll_fd, 1, 100) == 0)
            break; /* it is bounded: nothing more is taken */
        rc = send(client, bytes + sent, length - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += rc > 0 ? (size_t)rc : 0;
    }
    sent -= sent % 56;
    for (next = 0; next < sent / 56; next++)
        if (!answered(client, next, WIRE_OK, &answer))
            break;
    CHECK(next > 0 && next == sent / 56);
    close(client);
    CHECK(RIG_UNTIL(m, vm, stub_connected, 0));
}

static void test_bad_frames(struct mediator *m, struct rig_vm *vm)
{
    static uint8_t payload[2000];
    static uint8_t frame[sizeof(struct wire_header) + 2000];
    struct rig_answer answer;
    int client = rig_connect(vm->stub_path);
    uint64_t faults = rig_stats(m, vm).faults, mismatches = rig_stats(m, vm).mismatches;

    CASE("a malformed request is refused and counted, and the connection kept");
    CHECK(rig_send(client, frame, rig_frame(frame, WIRE_REQUEST, 0, 1, payload, 10)));
    CHECK(answered(client, 1, WIRE_INVALID_LENGTH, &answer));
    CHECK(rig_send(client, frame, rig_frame(frame, WIRE_REQUEST, 0, 2, payload, 32)));
    CHECK(answered(client, 2, WIRE_INVALID_REQUEST, &answer));
    CHECK(rig_send(client, frame, rig_frame(frame, 0x99, 0, 3, payload, 500)));
    CHECK(answered(client, 3, WIRE_UNSUPPORTED, &answer));
    CHECK(rig_send(client, frame, rig_frame(frame, WIRE_REQUEST, 0, 4, payload, 2000)));
    CHECK(answered(client, 4, WIRE_TOO_LARGE, &answer));
    CHECK(nop_works(client, 5));
    CHECK(rig_stats(m, vm).faults == faults + 4);

    CASE("a header that names another VM is refused and counted; its own id or 0 is served");
    CHECK(rig_send(client, frame, rig_frame(frame, WIRE_PING, 4242, 0, NULL, 0)));
    CHECK(answered(client, 0, WIRE_INVALID_REQUEST, &answer));
    CHECK(rig_stats(m, vm).faults == faults + 5);
    CHECK(rig_send(client, frame, rig_frame(frame, WIRE_PING, vm->identity.vm_id, 0, NULL, 0)));
    CHECK(rig_receive(client, &answer) && answer.header.type == WIRE_PONG);

    CASE("another pool or priority than the store's is counted, and ignored");
    rig_request(frame, 6, WIRE_OP_NOP, NULL, 0);
    frame[16] = 'Z';
    frame[17] = 200;
    CHECK(rig_send(client, frame, 56) && answered(client, 6, WIRE_OK, &answer));
    CHECK(rig_stats(m, vm).mismatches == mismatches + 1);

    CASE("an id that the VM had when it connected is still its own after a change");
    vm->identity.vm_id += 100;
    CHECK(mediator_vm_set(m, vm->handle, &vm->identity) == 0);
    for (uint32_t id = vm->identity.vm_id - 100; id <= vm->identity.vm_id; id += 100) {
        CHECK(rig_send(client, frame, rig_frame(frame, WIRE_PING, id, 0, NULL, 0)));
        CHECK(rig_receive(client, &answer) && answer.header.type == WIRE_PONG);
    }
    vm->identity.vm_id -= 100;
    CHECK(mediator_vm_set(m, vm->handle, &vm->identity) == 0);

    CASE("a wrong magic is answered INVALID_REQUEST, and then the connection is closed");
    memset(payload, 0x41, sizeof(payload));
    CHECK(rig_send(client, payload, sizeof(payload)));
    CHECK(answered(client, 0, WIRE_INVALID_REQUEST, &answer));
    CHECK(rig_closed(client));
    close(client);
    client = rig_connect(vm->stub_path);
    CHECK(nop_works(client, 7));
    close(client);
    CHECK(RIG_UNTIL(m, vm, stub_connected, 0));
}

static void test_peers(struct mediator *m, struct rig_vm *vm)
{
    struct mediator_event event;
    int client, second;

    CASE("a second client is refused, and the first one served on");
    client = rig_connect(vm->stub_path);
    CHECK(nop_works(client, 1));
    second = rig_connect(vm->stub_path);
    CHECK(rig_closed(second));
    CHECK(rig_event(m, MEDIATOR_SECOND_CLIENT, &event) && event.vm == vm->handle &&
          event.a == MEDIATOR_STUB && event.b == ((uint64_t)getpid() << 32 | getuid()));
    CHECK(nop_works(client, 2));
    close(second);
    close(client);
    CHECK(rig_event(m, MEDIATOR_DISCONNECTED, &event) && event.vm == vm->handle);

    CASE("a client of another uid is refused before a byte of it is served");
    vm->identity.peer_uid += 1;
    CHECK(mediator_vm_set(m, vm->handle, &vm->identity) == 0);
    client = rig_connect(vm->stub_path);
    CHECK(rig_closed(client));
    CHECK(rig_event(m, MEDIATOR_PEER_REFUSED, &event) && event.vm == vm->handle &&
          event.b == ((uint64_t)getpid() << 32 | getuid()));
    close(client);
    vm->identity.peer_uid -= 1;
    CHECK(mediator_vm_set(m, vm->handle, &vm->identity) == 0);
    client = rig_connect(vm->stub_path);
    CHECK(nop_works(client, 3));
    close(client);
    CHECK(RIG_UNTIL(m, vm, stub_connected, 0));
}

static void test_greedy(struct mediator *m, struct rig_vm *vm, struct rig_vm *other)
{
    static uint8_t bytes[56 * 1000];
    struct rig_answer answer;
    int client = rig_connect(vm->stub_path), neighbour = rig_connect(other->stub_path);
    size_t length = 0, sent = 0, answers = 0;
    ssize_t rc;

    CASE("a client that never reads is bounded, and its neighbours are served");
    for (uint32_t i = 0; i < 1000; i++)
        length += rig_request(bytes + length, i, WIRE_OP_GET_DEVICE_INFO, NULL, 0);
    for (;;) {
        struct pollfd poll_fd = {.fd = client, .events = POLLOUT};

        if (poll(&poll_fd, 1, 200) == 0)
            break;
        rc = send(client, bytes + sent % length, length - sent % length,
                  MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += rc > 0 ? (size_t)rc : 0;
        if (sent > 64u << 20)
            break;
    }
    CHECK(sent < 16u << 20);
    CHECK(nop_works(neighbour, 1));

    CASE("when it reads after all, every request that it sent is answered");
    sent -= sent % 56;
    while (answers < sent / 56 && answered(client, (uint32_t)answers % 1000, WIRE_OK, &answer))
        answers++;
    CHECK(answers == sent / 56);
    close(client);
    close(neighbour);
    CHECK(RIG_UNTIL(m, vm, stub_connected, 0) && RIG_UNTIL(m, other, stub_connected, 0));
}

static void test_disconnect(struct mediator *m, struct rig_vm *vm, struct fake_worker *worker)
{
    const uint32_t params[2] = {1, 2};
    uint8_t frame[FRAME_MAX];
    struct worker_unit unit;
    struct rig_answer answer;
    uint64_t dropped = rig_stats(m, vm).dropped;
    int client = rig_connect(vm->stub_path);

    CASE("when a client goes, what it has queued is dropped");
    for (uint32_t i = 0; i < 20; i++)
        CHECK(rig_send(client, frame, rig_request(frame, i, WIRE_OP_VECTOR_ADD, params, 2)));
    CHECK(fake_worker_take(worker, &unit, RIG_LONG_MS) && RIG_UNTIL(m, vm, queued, 12));
    close(client);
    CHECK(RIG_UNTIL(m, vm, queued, 0));
    CHECK(rig_stats(m, vm).running == 8 && rig_stats(m, vm).dropped == dropped + 12);

    CASE("the answer to what was running goes nowhere, not to the client that came after");
    client = rig_connect(vm->stub_path);
    CHECK(rig_send(client, frame, rig_request(frame, 4711, WIRE_OP_NOP, NULL, 0)));
    CHECK(RIG_UNTIL(m, vm, queued, 1)); /* it stands behind what still runs */
    fake_worker_done(worker, &unit, VGPU_OK);
    for (int i = 0; i < 7; i++) {
        CHECK(fake_worker_take(worker, &unit, RIG_LONG_MS));
        fake_worker_done(worker, &unit, VGPU_OK);
    }
    CHECK(answered(client, 4711, WIRE_OK, &answer)); /* the first bytes that it sees are its own */
    CHECK(rig_stats(m, vm).running == 0 && rig_stats(m, vm).dropped == dropped + 20);
    CHECK(rig_send(client, frame, rig_request(frame, 5, WIRE_OP_VECTOR_ADD, params, 2)));
    CHECK(fake_worker_take(worker, &unit, RIG_LONG_MS));
    fake_worker_done(worker, &unit, VGPU_FAILED);
    CHECK(answered(client, 5, WIRE_DEVICE_ERROR, &answer));
    close(client);
    CHECK(RIG_UNTIL(m, vm, stub_connected, 0));
}

static void test_full(struct mediator *m, struct rig_vm *vm, struct fake_worker *worker)
{
    const uint32_t params[2] = {1, 2};
    uint8_t frame[FRAME_MAX];
    struct worker_unit unit;
    struct rig_answer answer;
    int client = rig_connect(vm->stub_path);

    CASE("a full queue refuses with BUSY, and the connection is kept");
    vm->identity.max_queued = 3;
    CHECK(mediator_vm_set(m, vm->handle, &vm->identity) == 0);
    for (uint32_t i = 0; i < 5; i++)
        CHECK(rig_send(client, frame, rig_request(frame, i, WIRE_OP_VECTOR_ADD, params, 2)));
    for (uint32_t i = 3; i < 5; i++) {
        CHECK(rig_receive(client, &answer) && answer.header.type == WIRE_BUSY);
        CHECK(answer.header.request_id == i && answer.header.payload_len == 0);
    }
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(fake_worker_take(worker, &unit, RIG_LONG_MS));
        fake_worker_done(worker, &unit, VGPU_OK);
        CHECK(answered(client, i, WIRE_OK, &answer));
    }

    CASE("a disabled pool, or none, refuses with INVALID_POOL");
    CHECK(mediator_pool_set(m, 'A', 50, 0) == 0);
    CHECK(rig_send(client, frame, rig_request(frame, 9, WIRE_OP_NOP, NULL, 0)));
    CHECK(answered(client, 9, WIRE_INVALID_POOL, &answer));
    CHECK(mediator_pool_set(m, 'A', 50, 1) == 0);
    vm->identity.max_queued = 0;
    vm->identity.pool_id = 0;
    CHECK(mediator_vm_set(m, vm->handle, &vm->identity) == 0);
    CHECK(rig_send(client, frame, rig_request(frame, 10, WIRE_OP_NOP, NULL, 0)));
    CHECK(answered(client, 10, WIRE_INVALID_POOL, &answer));
    vm->identity.pool_id = 'A';
    CHECK(mediator_vm_set(m, vm->handle, &vm->identity) == 0);
    CHECK(nop_works(client, 11));
    close(client);
    CHECK(RIG_UNTIL(m, vm, stub_connected, 0));
}

int main(void)
{
    const struct mediator_config config = rig_config();
    struct mediator *m;
    struct rig_vm vm, other;
    struct fake_worker worker;

    m = rig_engine(&config);
    rig_vm_new(&vm, 7, 'A', 1, 64, 1);
    rig_vm_new(&other, 8, 'A', 1, 64, 1);
    CHECK(rig_vm_add(&vm, m, -1, -1) >= 0 && rig_vm_add(&other, m, -1, -1) >= 0);
    CHECK(mediator_start(m) == 0);
    fake_worker_new(&worker, 1);
    CHECK(fake_worker_attach(&worker, m, vm.handle, MEDIATOR_LAUNCH) == 0);
    test_operations(m, &vm, &worker);
    test_cuda(m, &vm);
    test_splits(m, &vm, &worker);
    test_pipelining(m, &vm);
    test_bad_frames(m, &vm);
    test_peers(m, &vm);
    test_greedy(m, &vm, &other);
    test_disconnect(m, &vm, &worker);
    test_full(m, &vm, &worker);
    mediator_free(m);
    fake_worker_free(&worker);
    rig_vm_free(&vm);
    rig_vm_free(&other);
    return check_done();
}
