/*
 * sched_heap.c - The binary heap of those who compete
 *
 * Theory of operation
 *
 * A min-heap on (tag, order): who is furthest behind is on top, who came first among equals.
 * Parties know their place, so that any of them can be moved or taken out in O(log n). Tags may
 * wrap around: they are compared by signed difference. Room is made by the set-up calls; inserting
 * never allocates.
 */
#include <errno.h>
#include <stdlib.h>

#include "scheduler.h"

static bool comes_before(const struct sched_party *a, const struct sched_party *b)
{
    int64_t diff = (int64_t)(a->tag - b->tag);

    return diff ? diff < 0 : (int64_t)(a->order - b->order) < 0;
}

static void heap_put(struct sched_heap *heap, uint32_t i, struct sched_party *party)
{
    heap->at[i] = party;
    party->heap_index = i;
}

static void heap_up(struct sched_heap *heap, uint32_t i)
{
    struct sched_party *party = heap->at[i];

    while (i > 0 && comes_before(party, heap->at[(i - 1) / 2])) {
        heap_put(heap, i, heap->at[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(heap, i, party);
}

static void heap_down(struct sched_heap *heap, uint32_t i)
{
    struct sched_party *party = heap->at[i];

    for (;;) {
        uint32_t child = 2 * i + 1;

        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && comes_before(heap->at[child + 1], heap->at[child]))
            child++;
        if (!comes_before(heap->at[child], party))
            break;
        heap_put(heap, i, heap->at[child]);
        i = child;
    }
    heap_put(heap, i, party);
}

/** sched_heap_insert() - Let a party compete; there is room by contract */
void sched_heap_insert(struct sched_heap *heap, struct sched_party *party)
{
    heap_put(heap, heap->count, party);
    heap_up(heap, heap->count++);
}

/** sched_heap_remove() - Take a party out, wherever it stands */
void sched_heap_remove(struct sched_heap *heap, struct sched_party *party)
{
    uint32_t i = party->heap_index;
    struct sched_party *last = heap->at[--heap->count];

    party->heap_index = SCHED_NOT_IN_HEAP;
    if (last == party)
        return;
    heap_put(heap, i, last);
    heap_up(heap, i);
    heap_down(heap, last->heap_index);
}

/** sched_heap_rekey() - The tag of a party has changed; nothing happens if it does not compete */
void sched_heap_rekey(struct sched_heap *heap, struct sched_party *party)
{
    if (party->heap_index == SCHED_NOT_IN_HEAP)
        return;
    heap_up(heap, party->heap_index);
    heap_down(heap, party->heap_index);
}

/**
 * sched_heap_reserve() - Make room for so many members
 *
 * Return: 0, or -ENOMEM
 */
int sched_heap_reserve(struct sched_heap *heap, uint32_t members)
{
    uint32_t capacity = heap->capacity ? heap->capacity : 4;
    struct sched_party **at;

    if (members <= heap->capacity)
        return 0;
    while (capacity < members)
        capacity *= 2;
    at = realloc(heap->at, capacity * sizeof(*at));
    if (!at)
        return -ENOMEM;
    heap->at = at;
    heap->capacity = capacity;
    return 0;
}
