/*
 * sched_heap.c - The binary heap of those who compete
 *
 * Theory of operation
 *
 * A min-heap on (key, order): who is furthest behind is on top, who came first among equals.
 * Nodes know their place, so that any of them can be moved or taken out in O(log n). Keys may
 * wrap around: they are compared by signed difference. Room is made by the set-up calls; inserting
 * never allocates.
 */
#include <errno.h>
#include <stdlib.h>

#include "sched_parts.h"

/** sched_node_init() - A node that is in no heap */
void sched_node_init(struct sched_node *node, void *owner)
{
    *node = (struct sched_node){.index = SCHED_NOT_IN_HEAP, .owner = owner};
}

/** sched_node_in_heap() - Is it in one? */
bool sched_node_in_heap(const struct sched_node *node)
{
    return node->index != SCHED_NOT_IN_HEAP;
}

/** sched_comes_before() - Is @a to be served before @b? */
bool sched_comes_before(const struct sched_node *a, const struct sched_node *b)
{
    int64_t diff = (int64_t)(a->key - b->key);

    return diff ? diff < 0 : (int64_t)(a->order - b->order) < 0;
}

static void heap_put(struct sched_heap *heap, uint32_t i, struct sched_node *node)
{
    heap->at[i] = node;
    node->index = i;
}

static void heap_up(struct sched_heap *heap, uint32_t i)
{
    struct sched_node *node = heap->at[i];

    while (i > 0 && sched_comes_before(node, heap->at[(i - 1) / 2])) {
        heap_put(heap, i, heap->at[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(heap, i, node);
}

static void heap_down(struct sched_heap *heap, uint32_t i)
{
    struct sched_node *node = heap->at[i];

    for (;;) {
        uint32_t child = 2 * i + 1;

        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && sched_comes_before(heap->at[child + 1], heap->at[child]))
            child++;
        if (!sched_comes_before(heap->at[child], node))
            break;
        heap_put(heap, i, heap->at[child]);
        i = child;
    }
    heap_put(heap, i, node);
}

/** sched_heap_insert() - Let a node compete; there is room by contract */
void sched_heap_insert(struct sched_heap *heap, struct sched_node *node)
{
    heap_put(heap, heap->count, node);
    heap_up(heap, heap->count++);
}

/** sched_heap_remove() - Take a node out, wherever it stands; nothing happens if it is in none */
void sched_heap_remove(struct sched_heap *heap, struct sched_node *node)
{
    uint32_t i = node->index;
    struct sched_node *last;

    if (i == SCHED_NOT_IN_HEAP)
        return;
    last = heap->at[--heap->count];
    node->index = SCHED_NOT_IN_HEAP;
    if (last == node)
        return;
    heap_put(heap, i, last);
    heap_up(heap, i);
    heap_down(heap, last->index);
}

/** sched_heap_rekey() - The key of a node has changed; nothing happens if it is in no heap */
void sched_heap_rekey(struct sched_heap *heap, struct sched_node *node)
{
    if (node->index == SCHED_NOT_IN_HEAP)
        return;
    heap_up(heap, node->index);
    heap_down(heap, node->index);
}

/**
 * sched_heap_reserve() - Make room for so many members
 *
 * Return: 0, or -ENOMEM
 */
int sched_heap_reserve(struct sched_heap *heap, uint32_t members)
{
    uint32_t capacity = heap->capacity ? heap->capacity : 4;
    struct sched_node **at;

    if (members <= heap->capacity)
        return 0;
    while (capacity < members)
        capacity *= 2;
    at = realloc(heap->at, capacity * sizeof(struct sched_node *));
    if (!at)
        return -ENOMEM;
    heap->at = at;
    heap->capacity = capacity;
    return 0;
}
