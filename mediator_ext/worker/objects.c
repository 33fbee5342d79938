/*
 * objects.c - What a VM's ids stand for
 *
 * Objects lie in a pool; a hash table with open addressing and linear probing holds their numbers
 * in the pool plus one, 0 meaning empty. It is never more than half full. Removal shifts the
 * entries behind the gap, so that there are no tombstones to wade through.
 *
 * Ids are the guest's choice, and one who chooses them to collide slows down nobody but himself.
 */
#include "objects.h"

#include <stdlib.h>
#include <string.h>

struct objects {
    uint32_t capacity;
    uint32_t live;
    uint32_t used;      /* pool entries that were ever handed out */
    uint32_t free_head; /* number + 1 of the first returned entry, chained by name.id */
    uint32_t mask;
    uint32_t *slots;
    struct object *pool;
};

static uint32_t slot_of(const struct objects *objects, struct object_name name)
{
    uint64_t x = ((uint64_t)name.ctx << 32 | name.id) ^
                 ((uint64_t)name.qp << 8 | name.kind) * 0x9e3779b97f4a7c15u;

    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(x ^ (x >> 31)) & objects->mask;
}

struct objects *objects_new(uint32_t capacity)
{
    struct objects *made = calloc(1, sizeof(*made));
    uint32_t slots = 2;

    if (!made)
        return NULL;
    while (slots < 2 * capacity)
        slots *= 2;
    made->capacity = capacity;
    made->mask = slots - 1;
    made->slots = calloc(slots, sizeof(*made->slots));
    made->pool = calloc(capacity, sizeof(*made->pool));
    if (!made->slots || !made->pool) {
        objects_free(made);
        return NULL;
    }
    return made;
}

void objects_free(struct objects *objects)
{
    if (!objects)
        return;
    free(objects->slots);
    free(objects->pool);
    free(objects);
}

uint32_t objects_count(const struct objects *objects)
{
    return objects->live;
}

/* The slot that holds the name, or the empty one where it would be put. */
static uint32_t probe(const struct objects *objects, struct object_name name)
{
    uint32_t at = slot_of(objects, name);

    while (objects->slots[at] != 0 &&
           memcmp(&objects->pool[objects->slots[at] - 1].name, &name, sizeof(name)) != 0)
        at = (at + 1) & objects->mask;
    return at;
}

struct object *objects_find(const struct objects *objects, struct object_name name)
{
    uint32_t number = objects->slots[probe(objects, name)];

    return number ? &objects->pool[number - 1] : NULL;
}

struct object *objects_add(struct objects *objects, struct object_name name)
{
    struct object *object;
    uint32_t number;

    if (objects->free_head) {
        number = objects->free_head;
        objects->free_head = objects->pool[number - 1].name.id;
    } else if (objects->used < objects->capacity) {
        number = ++objects->used;
    } else {
        return NULL;
    }
    object = &objects->pool[number - 1];
    memset(object, 0, sizeof(*object));
    object->name = name;
    objects->live++;
    objects->slots[probe(objects, name)] = number;
    return object;
}

void objects_remove(struct objects *objects, struct object *object)
{
    uint32_t gap = probe(objects, object->name);
    uint32_t at = gap;

    for (;;) {
        uint32_t home;

        at = (at + 1) & objects->mask;
        if (objects->slots[at] == 0)
            break;
        home = slot_of(objects, objects->pool[objects->slots[at] - 1].name);
        /* An entry may move into the gap unless its home lies behind the gap, cyclically. */
        if (((at - home) & objects->mask) >= ((at - gap) & objects->mask)) {
            objects->slots[gap] = objects->slots[at];
            gap = at;
        }
    }
    objects->slots[gap] = 0;
    objects->live--;
    memset(object, 0, sizeof(*object));
    object->name.id = objects->free_head;
    objects->free_head = (uint32_t)(object - objects->pool) + 1;
}

struct object *objects_next(const struct objects *objects, uint32_t kind, uint32_t *cursor)
{
    while (*cursor < objects->used) {
        struct object *object = &objects->pool[(*cursor)++];

        if (object->name.kind == kind)
            return object;
    }
    return NULL;
}
