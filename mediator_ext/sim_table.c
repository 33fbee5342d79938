/*
 * sim_table.c - The simulator's objects by their numbers
 *
 * Theory of operation
 *
 * Recordings name objects by numbers that may be anything, so the table is a hash table and its size
 * goes by how many there are: open addressing, linear probing, at most half full. What is taken out
 * leaves no mark: those behind it that may move up do.
 */
#include <errno.h>
#include <stdlib.h>

#include "sim_parts.h"

static uint32_t home_of(const struct sim_table *table, uint32_t kind, uint32_t vm, uint32_t id)
{
    uint64_t key = ((uint64_t)vm << 32 | id) * 4 + kind;

    key *= 0x9e3779b97f4a7c15ull;
    return (uint32_t)(key >> 32) & (table->capacity - 1);
}

static uint32_t next_of(const struct sim_table *table, uint32_t i)
{
    return (i + 1) & (table->capacity - 1);
}

/** sim_find() - The object of a number, or NULL */
struct sim_object *sim_find(const struct sim_table *table, enum sim_kind kind, uint32_t vm,
                            uint32_t id)
{
    if (table->capacity == 0)
        return NULL;
    for (uint32_t i = home_of(table, kind, vm, id); table->at[i]; i = next_of(table, i))
        if (table->at[i]->kind == (uint32_t)kind && table->at[i]->vm == vm &&
            table->at[i]->id == id)
            return table->at[i];
    return NULL;
}

static void place(struct sim_table *table, struct sim_object *object)
{
    uint32_t i = home_of(table, object->kind, object->vm, object->id);

    while (table->at[i])
        i = next_of(table, i);
    table->at[i] = object;
}

/**
 * sim_insert() - Add an object; there is none of its number
 *
 * Return: 0, or -ENOMEM
 */
int sim_insert(struct sim_table *table, struct sim_object *object)
{
    if (2 * (table->count + 1) > table->capacity) {
        struct sim_table grown = {.capacity = table->capacity ? 2 * table->capacity : 64};

        grown.at = calloc(grown.capacity, sizeof(struct sim_object *));
        if (!grown.at)
            return -ENOMEM;
        for (uint32_t i = 0; i < table->capacity; i++)
            if (table->at[i])
                place(&grown, table->at[i]);
        grown.count = table->count;
        free(table->at);
        *table = grown;
    }
    place(table, object);
    table->count++;
    return 0;
}

/** sim_remove() - Take out an object that is in */
void sim_remove(struct sim_table *table, struct sim_object *object)
{
    uint32_t hole = home_of(table, object->kind, object->vm, object->id);

    while (table->at[hole] != object)
        hole = next_of(table, hole);
    for (uint32_t i = next_of(table, hole); table->at[i]; i = next_of(table, i)) {
        uint32_t home = home_of(table, table->at[i]->kind, table->at[i]->vm, table->at[i]->id);

        /* May it stand in the hole? Not if its home lies behind that. */
        if (((i - home) & (table->capacity - 1)) < ((i - hole) & (table->capacity - 1)))
            continue;
        table->at[hole] = table->at[i];
        hole = i;
    }
    table->at[hole] = NULL;
    table->count--;
}

static int by_number(const void *a, const void *b)
{
    const struct sim_object *const *x = a, *const *y = b;

    if ((*x)->vm != (*y)->vm)
        return (*x)->vm < (*y)->vm ? -1 : 1;
    if ((*x)->kind != (*y)->kind)
        return (*x)->kind < (*y)->kind ? -1 : 1;
    return (*x)->id<(*y)->id ? -1 : (*x)->id>(*y)->id;
}

/** sim_sorted() - All objects: by VM, each VM before its streams and those before its units.
 *
 * Return: an array of table->count for the caller to free, or NULL: no memory, or none there
 */
struct sim_object **sim_sorted(const struct sim_table *table)
{
    struct sim_object **all;
    uint32_t count = 0;

    if (table->count == 0)
        return NULL;
    all = calloc(table->count, sizeof(struct sim_object *));
    if (!all)
        return NULL;
    for (uint32_t i = 0; i < table->capacity; i++)
        if (table->at[i])
            all[count++] = table->at[i];
    qsort(all, count, sizeof(struct sim_object *), by_number);
    return all;
}
