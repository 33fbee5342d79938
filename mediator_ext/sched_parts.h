/*
 * sched_parts.h - What the scheduler's own files offer each other
 */
#ifndef VGPUD_SCHED_PARTS_H
#define VGPUD_SCHED_PARTS_H

#include "scheduler.h"

#define SCHED_TAG_SHIFT 8

/** sched_later() - The greater of two virtual times; they may wrap around */
static inline uint64_t sched_later(uint64_t a, uint64_t b)
{
    return (int64_t)(a - b) > 0 ? a : b;
}

/** sched_tell() - Tell who listens of a call that has taken effect: sched_tell(s, .type = ..., ...) */
#define sched_tell(s, ...)                                                                         \
    do {                                                                                           \
        if (__builtin_expect((s)->tap != NULL, 0))                                                 \
            (s)->tap((s)->tap_argument, (s), &(struct sched_call){__VA_ARGS__});                   \
    } while (0)

/** sched_tag_step() - How far a cost moves a start tag */
static inline uint64_t sched_tag_step(uint64_t cost_ns, uint32_t weight)
{
    return (cost_ns << SCHED_TAG_SHIFT) / weight;
}

/* scheduler.c */
struct sched_pool *sched_front(const struct scheduler *s, enum sched_lane lane, int *class);
bool sched_higher_waits(const struct scheduler *s, const struct sched_vm *vm, enum sched_lane lane);

/* sched_heap.c */
bool sched_comes_before(const struct sched_node *a, const struct sched_node *b);
void sched_node_init(struct sched_node *node, void *owner);
bool sched_node_in_heap(const struct sched_node *node);
void sched_heap_insert(struct sched_heap *heap, struct sched_node *node);
void sched_heap_remove(struct sched_heap *heap, struct sched_node *node);
void sched_heap_rekey(struct sched_heap *heap, struct sched_node *node);
int sched_heap_reserve(struct sched_heap *heap, uint32_t members);

/* sched_streams.c */
void sched_fifo_insert_after(struct sched_stream *stream, struct sched_unit *before,
                             struct sched_unit *unit);
void sched_fifo_remove(struct sched_stream *stream, struct sched_unit *unit);
void sched_stream_update(struct scheduler *s, struct sched_stream *stream);

/* sched_parties.c */
uint8_t sched_slot(const struct scheduler *s, uint8_t class);
struct sched_level *sched_level_of(struct sched_vm *vm, enum sched_lane lane);
void sched_vm_update(struct scheduler *s, struct sched_vm *vm, enum sched_lane lane);

/* sched_aging.c */
uint64_t sched_waits_since(const struct sched_party *party);
void sched_aging_served(struct sched_level *level, struct sched_party *party, uint64_t now_ns);
struct sched_vm *sched_aging_pick(struct scheduler *s, struct sched_pool *pool,
                                  enum sched_lane lane, int top, uint64_t now_ns);
const struct sched_vm *sched_aging_would_pick(const struct scheduler *s,
                                              const struct sched_pool *pool, enum sched_lane lane,
                                              int top, uint64_t now_ns);
void sched_aging_picked(struct scheduler *s, struct sched_pool *pool, enum sched_lane lane,
                        uint64_t estimate_ns);
void sched_aging_settled(struct scheduler *s, struct sched_pool *pool, enum sched_lane lane,
                         bool aged, uint64_t charged_ns, uint64_t cost_ns);

#endif
