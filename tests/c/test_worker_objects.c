/*
 * test_worker_objects.c - The table of ids
 */
#include <stdbool.h>

#include "check.h"
#include "worker/objects.h"

#define CAPACITY 500u
#define STEPS    20000u

static struct object_name name_of(uint32_t id)
{
    return (struct object_name){.qp = 1, .ctx = 2, .kind = OBJECT_BUFFER, .id = id};
}

static void parts_of_a_name(void)
{
    struct objects *objects = objects_new(8);
    struct object_name name = name_of(5), other;

    CASE("pair, ctx, kind and id all belong to the name");
    CHECK(objects_add(objects, name) != NULL);
    CHECK(objects_find(objects, name) != NULL);
    other = name;
    other.qp = 9;
    CHECK(!objects_find(objects, other));
    other = name;
    other.ctx = 9;
    CHECK(!objects_find(objects, other));
    other = name;
    other.kind = OBJECT_KERNEL;
    CHECK(!objects_find(objects, other));
    other = name;
    other.id = 9;
    CHECK(!objects_find(objects, other));
    objects_free(objects);
}

static void a_full_table(void)
{
    struct objects *objects = objects_new(3);

    CASE("a full table takes nothing more until something is removed");
    for (uint32_t id = 1; id <= 3; id++)
        CHECK(objects_add(objects, name_of(id)) != NULL);
    CHECK(!objects_add(objects, name_of(4)));
    CHECK(objects_count(objects) == 3);
    objects_remove(objects, objects_find(objects, name_of(2)));
    CHECK(objects_count(objects) == 2);
    CHECK(objects_add(objects, name_of(4)) != NULL);
    CHECK(objects_find(objects, name_of(1)) && objects_find(objects, name_of(3)));
    CHECK(!objects_find(objects, name_of(2)));
    objects_free(objects);
}

/* The same steps on the table and on an array of truths. */
static void random_steps(void)
{
    struct objects *objects = objects_new(CAPACITY);
    struct object *at[CAPACITY] = {0};
    uint32_t random = 1, wrong = 0;

    CASE("after any adds and removes, exactly what was added is found, where it was put");
    for (uint32_t step = 0; step < STEPS; step++) {
        uint32_t id;

        random = random * 1664525u + 1013904223u;
        id = (random >> 8) % CAPACITY;
        if (at[id]) {
            objects_remove(objects, at[id]);
            at[id] = NULL;
        } else {
            at[id] = objects_add(objects, name_of(id));
            wrong += at[id] == NULL;
        }
        id = (random >> 16) % CAPACITY;
        wrong += objects_find(objects, name_of(id)) != at[id];
    }
    for (uint32_t id = 0; id < CAPACITY; id++)
        wrong += objects_find(objects, name_of(id)) != at[id];
    CHECK(wrong == 0);
    objects_free(objects);
}

static void by_kind(void)
{
    struct objects *objects = objects_new(8);
    struct object_name kernel = {.kind = OBJECT_KERNEL, .id = 1};
    struct object_name other = {.kind = OBJECT_KERNEL, .id = 2};
    uint32_t cursor = 0;

    CASE("objects_next() finds those of a kind one after the other, and not what was removed");
    objects_add(objects, name_of(1));
    CHECK(!objects_next(objects, OBJECT_KERNEL, &(uint32_t){0}));
    objects_add(objects, kernel);
    objects_add(objects, other);
    CHECK(objects_next(objects, OBJECT_KERNEL, &cursor) == objects_find(objects, kernel));
    objects_remove(objects, objects_find(objects, kernel));
    CHECK(objects_next(objects, OBJECT_KERNEL, &cursor) == objects_find(objects, other));
    CHECK(!objects_next(objects, OBJECT_KERNEL, &cursor));
    objects_remove(objects, objects_find(objects, other));
    CHECK(!objects_next(objects, OBJECT_KERNEL, &(uint32_t){0}));
    objects_free(objects);
}

int main(void)
{
    parts_of_a_name();
    a_full_table();
    random_steps();
    by_kind();
    return check_done();
}
