/*
 * test_recorder.c - A recording is read while it is made
 */
/* sanitizers: address thread */
#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "check.h"
#include "recorder.h"

#define RECORDS 200000u

static void *write_all(void *argument)
{
    struct recorder *recorder = argument;

    for (uint64_t i = 0; i < RECORDS; i++)
        recorder_put(recorder, &(struct mediator_record){.type = MEDIATOR_RECORD_PICK,
                                                         .seq = i,
                                                         .value = {i, ~i, i * i}});
    return NULL;
}

/* Read until the writer is done and nothing is left. Return: did all come, whole and in order? */
static bool read_all(struct recorder *recorder, uint64_t *count, bool *gap)
{
    static struct mediator_record record[512];
    bool right = true;
    uint64_t idle = 0;

    *count = 0;
    *gap = false;
    while (*count + recorder_lost(recorder) < RECORDS || idle == 0) {
        uint32_t taken = recorder_take(recorder, record, 1 + (uint32_t)(*count % 512));

        idle = taken ? 0 : idle + 1;
        for (uint32_t i = 0; i < taken; i++) {
            if (record[i].type == MEDIATOR_RECORD_GAP) {
                *gap = true;
                continue;
            }
            right = right && !*gap && record[i].seq == *count && record[i].value[0] == *count &&
                    record[i].value[1] == ~*count && record[i].value[2] == *count * *count;
            ++*count;
        }
        if (!taken)
            sched_yield();
    }
    return right;
}

static void run(uint32_t room, struct recorder *recorder, uint64_t *count, bool *gap)
{
    const struct record_names nobody = {0};
    pthread_t writer;

    CHECK(recorder_begin(recorder, &nobody, room) == 0);
    CHECK(pthread_create(&writer, NULL, write_all, recorder) == 0);
    CHECK(read_all(recorder, count, gap));
    pthread_join(writer, NULL);
}

int main(void)
{
    struct recorder recorder = {0};
    uint64_t count;
    bool gap;

    CASE("another thread reads all records whole and in order while they are written");
    run(RECORDS, &recorder, &count, &gap);
    CHECK(count == RECORDS && !gap && recorder_lost(&recorder) == 0);

    CASE("one that is overtaken has all up to a gap, and what it has not is counted");
    run(3, &recorder, &count, &gap);
    CHECK(gap == (count < RECORDS));
    CHECK(count + recorder_lost(&recorder) == RECORDS);

    CASE("a second recording knows nothing of the first");
    CHECK(recorder_begin(&recorder, NULL, 10) == 0);
    CHECK(recorder_lost(&recorder) == 0);
    CHECK(recorder_take(&recorder, &(struct mediator_record){0}, 1) == 0);
    recorder_free(&recorder);
    return check_done();
}
