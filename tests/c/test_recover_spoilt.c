/*
 * test_recover_spoilt.c - A journal that no engine can have left is refused as a whole
 *
 * What is checked is what an engine uses as an index or believes without looking again. What a killed
 * engine does leave is in test_recover.c and test_recover_kills.c.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "engine.h"
#include "engine_rig.h"
#include "journal_map.h"

struct spoilt {
    const char *what;
    size_t offset;
    size_t bytes;
    uint64_t value;
};

#define JOURNAL(field, value)                                                                      \
    {#field, offsetof(struct journal, field), sizeof(((struct journal *)0)->field), value}
/* Of the first slot, which is of a command that a worker has. */
#define SLOT(field, value)                                                                         \
    {#field, sizeof(struct journal) + offsetof(struct journal_slot, field),                        \
     sizeof(((struct journal_slot *)0)->field), value}

/* Two commands that the launch worker has, one that waits to be built, one NOP. */
static void fill(struct journal *j)
{
    const struct journal_slot slot = {.generation = 1,
                                      .attachment = 1,
                                      .transport = MEDIATOR_RING,
                                      .kind = REQUEST_COMMAND,
                                      .lane = SCHED_EXEC,
                                      .cmd_len = 8};

    j->ring.attachment = j->ring.connected = 1;
    j->ring.device_status = VGPU_DEVICE_OK;
    j->link[MEDIATOR_LAUNCH] =
        (struct journal_link){.worker_id = 5, .unit_tail = 9, .reply_head = 7};
    for (uint32_t i = 0; i < 4; i++) {
        j->slot[i] = slot;
        j->slot[i].seq = i;
        j->slot[i].state = i < 2 ? REQUEST_RUNNING : REQUEST_QUEUED;
        j->slot[i].unit_index = 7 + i;
    }
    j->slot[2].lane = SCHED_BUILD;
    j->slot[3].kind = REQUEST_NOP;
    j->slot[3].lane = SCHED_INSTANT;
    j->slots_used = 4;
    j->next_seq = 4;
}

/* Let an engine have a VM whose journal says so. Return: what it says. */
static int offer(struct mediator *m, struct rig_vm *vm, const struct spoilt *spoilt)
{
    struct journal *j;
    uint64_t bytes;
    int rc;

    rig_vm_new(vm, 3, 'A', 1, 64, 2);
    rig_must(journal_map(vm->journal_fd, &j, &bytes) == 0, "the journal");
    fill(j);
    if (spoilt)
        memcpy((uint8_t *)j + spoilt->offset, &spoilt->value, spoilt->bytes);
    journal_unmap(j, bytes);
    rc = rig_vm_add(vm, m, -1, -1);
    return rc;
}

static void test_fields(struct mediator *m)
{
    static const struct spoilt wrong[] = {
        JOURNAL(slots_used, 64 + JOURNAL_SLOTS_URGENT + 1),
        JOURNAL(waits_offset, 8),
        JOURNAL(link[0].unit_tail, 72),
        JOURNAL(link[0].unit_tail, 6),
        JOURNAL(link[0].reply_head, 0xffffff00),
        JOURNAL(ring.attachment, 0),
        JOURNAL(ring.device_status, 3),
        JOURNAL(ring.layout.qp_count, 0),
        JOURNAL(stub.connected, 1),
        SLOT(state, REQUEST_POSTING + 1),
        SLOT(state, REQUEST_RECEIVED),
        SLOT(seq, 3), /* which another has */
        SLOT(seq, 4),
        SLOT(transport, 3),
        SLOT(kind, 0),
        SLOT(kind, REQUEST_SIGNAL),
        SLOT(kind, REQUEST_QUERY + 1),
        SLOT(kind, REQUEST_NOP),
        SLOT(lane, SCHED_INSTANT),
        SLOT(lane, 7),
        SLOT(qp, 2),
        SLOT(unit_index, 8),
        SLOT(wait_count, VGPU_WAITS_MAX + 1),
    };
    struct rig_vm vm;

    CASE("a journal that an engine may have left is taken");
    CHECK(offer(m, &vm, NULL) >= 0);
    CHECK(mediator_worker_gone(m, vm.handle, MEDIATOR_LAUNCH, 0, 0) == 0);
    CHECK(mediator_vm_retire(m, vm.handle) == 0 && mediator_vm_remove(m, vm.handle) == 0);
    rig_vm_free(&vm);

    CASE("a journal with one field that no engine can have left is refused as one of another "
         "layout");
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        int rc = offer(m, &vm, &wrong[i]);

        if (rc != -EPROTO)
            fprintf(stderr, "%s = %llu: %d\n", wrong[i].what, (unsigned long long)wrong[i].value,
                    rc);
        CHECK(rc == -EPROTO);
        rig_vm_free(&vm);
    }
    CHECK(m->in_use == 0 && m->device.in_flight == 0 && m->builds == 0);
}

static void test_claims(struct mediator *m)
{
    struct rig_vm first, second;

    CASE("a journal that claims the device while another VM has it is refused");
    CHECK(offer(m, &first, NULL) >= 0);
    CHECK(m->device.in_flight == 2);
    CHECK(offer(m, &second, NULL) == -EPROTO);
    CHECK(m->device.in_flight == 2 && m->vm_count == 1);
    rig_vm_free(&second);
    CHECK(mediator_worker_gone(m, first.handle, MEDIATOR_LAUNCH, 0, 0) == 0);
    CHECK(m->device.in_flight == 0);
    CHECK(mediator_vm_retire(m, first.handle) == 0 && mediator_vm_remove(m, first.handle) == 0);
    rig_vm_free(&first);
}

int main(void)
{
    const struct mediator_config config = rig_config();
    struct mediator *m = rig_engine(&config);

    test_fields(m);
    test_claims(m);
    mediator_free(m);
    return check_done();
}
