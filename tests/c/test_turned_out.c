/*
 * test_turned_out.c - Quarantine, rates and own limits among timelines and what is urgent
 */
/* sanitizers: address thread */
#include "timeline_stage.h"

static void change(struct stage *s, uint32_t number, uint32_t quarantined, uint32_t rate)
{
    s->vm.identity.quarantine_number = number;
    s->vm.identity.quarantined = quarantined;
    s->vm.identity.max_rate = s->vm.identity.max_burst = rate;
    CHECK(mediator_vm_set(s->m, s->vm.handle, &s->vm.identity) == 0);
}

static struct vgpu_submission within(struct vgpu_submission entry, uint32_t timeout_ms)
{
    entry.timeout_ms = timeout_ms;
    return entry;
}

static struct vgpu_submission query(uint64_t cookie, uint32_t stream)
{
    return rig_query(cookie, VGPU_QUERY_STREAM_TIMELINE, stream);
}

static void test_quarantine(void)
{
    struct mediator_config config = rig_config();
    struct vgpu_completion completion;
    struct worker_unit unit;
    struct stage s;

    config.units_in_flight = 1;
    stage_new(&s, &config, 64);
    CASE("what waits for timelines is turned out with the rest");
    send_entry(&s, moving(rig_command(1, 1), 10));
    CHECK(fake_worker_take(&s.worker, &unit, RIG_LONG_MS));
    send_entry(&s, waits(&s, rig_command(2, 2), USER, 5, 1));
    send_entry(&s, waits(&s, rig_nop(3, 3), STREAM, 1, 20));
    send_entry(&s, moving(rig_command(4, 1), 20));
    send_entry(&s, rig_nop(5, 1));
    CHECK(RIG_UNTIL(s.m, &s.vm, queued, 4));
    change(&s, 1, 1, 0);
    for (uint32_t i = 0, cookies = 0; i < 3; i++) { /* of three streams: in any order */
        CHECK(rig_ring_take(&s.ring, 0, &completion, RIG_LONG_MS));
        CHECK(completion.status == VGPU_QUARANTINED);
        cookies |= 1u << completion.cookie;
        CHECK(i < 2 || cookies == (1u << 2 | 1u << 3 | 1u << 5));
    }

    CASE("one that moves its stream's timeline does not move it over what still runs before it");
    CHECK(rig_stats(s.m, &s.vm).running == 1 && rig_stats(s.m, &s.vm).queued == 1);
    fake_worker_done(&s.worker, &unit, VGPU_OK);
    CHECK(next_is(&s, 1, VGPU_OK) && next_is(&s, 4, VGPU_QUARANTINED));
    CHECK(rig_stats(s.m, &s.vm).queued == 0);

    CASE("what is urgent is refused, too, while it lasts");
    signal_user(&s, 5, 1);
    CHECK(next_is(&s, 1005, VGPU_QUARANTINED));
    send_entry(&s, query(6, 1));
    CHECK(next_is(&s, 6, VGPU_QUARANTINED));

    CASE("once it is lifted the timelines are where they were: moved as failed by what was turned "
         "out");
    change(&s, 1, 0, 0);
    send_entry(&s, query(7, 1));
    CHECK(rig_ring_take(&s.ring, 0, &completion, RIG_LONG_MS));
    CHECK(completion.status == VGPU_OK && completion.result[0] == 20 && completion.result[1] == 1);
    send_entry(&s, waits(&s, rig_nop(8, 2), STREAM, 1, 20));
    CHECK(next_is(&s, 8, VGPU_ABORTED));
    send_entry(&s, waits(&s, rig_nop(9, 2), STREAM, 1, 10));
    CHECK(next_is(&s, 9, VGPU_OK));
    stage_free(&s);
}

static void test_rate(void)
{
    const struct mediator_config config = rig_config();
    struct vgpu_completion completion = {0};
    struct stage s;

    stage_new(&s, &config, 64);
    CASE("who is over its rate can still signal, cancel and ask, and that takes none of it");
    change(&s, 0, 0, 1);
    send_entry(&s, waits(&s, rig_nop(1, 1), USER, 5, 1));
    CHECK(RIG_UNTIL(s.m, &s.vm, queued, 1));
    for (int i = 0; i < 10; i++) {
        send_entry(&s, query(50, 1));
        CHECK(next_is(&s, 50, VGPU_OK));
    }
    signal_user(&s, 5, 1);
    CHECK(next_is(&s, 1005, VGPU_OK) && next_is(&s, 1, VGPU_OK));

    CASE("a request that waits has taken its token, and the next one is over the rate");
    do { /* a second may have passed since */
        send_entry(&s, rig_nop(2, 1));
        CHECK(rig_ring_take(&s.ring, 0, &completion, RIG_LONG_MS));
    } while (completion.status == VGPU_OK);
    CHECK(completion.status == VGPU_RATE);
    CHECK(rig_stats(s.m, &s.vm).refused_by[MEDIATOR_REFUSED_RATE] == 1);
    stage_free(&s);
}

static void test_own_limits(void)
{
    const struct mediator_config config = rig_config();
    struct vgpu_completion completion;
    struct worker_unit unit;
    struct stage s;

    stage_new(&s, &config, 64);
    CASE("a limit of its own ends also the wait for a timeline that nobody moves");
    send_entry(&s, within(waits(&s, rig_command(1, 1), USER, 5, 1), 40));
    CHECK(next_is(&s, 1, VGPU_TIMEOUT));

    CASE("one that is to move its stream's timeline is answered in its place, as timed out");
    send_entry(&s, moving(rig_command(2, 1), 1));
    CHECK(fake_worker_take(&s.worker, &unit, RIG_LONG_MS));
    send_entry(&s, within(moving(waits(&s, rig_command(3, 1), USER, 5, 1), 2), 30));
    send_entry(&s, within(rig_nop(4, 2), 0));
    CHECK(next_is(&s, 4, VGPU_OK));
    send_entry(&s, within(waits(&s, rig_command(5, 2), USER, 5, 1), 60));
    CHECK(next_is(&s, 5, VGPU_TIMEOUT)); /* later than the other one */
    CHECK(!rig_ring_take(&s.ring, 0, &completion, 0));
    fake_worker_done(&s.worker, &unit, VGPU_OK);
    CHECK(next_is(&s, 2, VGPU_OK) && next_is(&s, 3, VGPU_TIMEOUT));
    stage_free(&s);
}

int main(void)
{
    test_quarantine();
    test_rate();
    test_own_limits();
    return check_done();
}
