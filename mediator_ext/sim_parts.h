/*
 * sim_parts.h - What the simulator's own files offer each other
 *
 * simulator.c applies records, sim_objects.c has what they are about, sim_state.c takes up and gives out
 * the whole state, sim_table.c finds objects by their numbers.
 */
#ifndef VGPUD_SIM_PARTS_H
#define VGPUD_SIM_PARTS_H

#include "record.h"

/* Of one unit. 2^48 ns are three days; so the sums of the scheduler stay below 2^63. */
#define SIM_COST_MAX_NS    (1ull << 48)
#define SIM_IN_FLIGHT_MAX  4096u
#define SIM_ACCOUNT_MAX_NS (1ll << 60)  /* either way */
#define SIM_ORDER_MAX      (1ull << 62) /* orders are counted from 1, and never wrap around */

/* A tag as it was recorded; until the end of the state it is not known who competes. */
struct sim_tag {
    uint64_t key;
    uint64_t order;
};

struct sim_pool {
    struct sched_pool sched; /* must be first */
    struct sim_tag turn[SCHED_LANES][SCHED_CLASSES];
    uint32_t vms;
    uint8_t id;
};

enum sim_kind {
    SIM_VM = 1,
    SIM_STREAM = 2,
    SIM_UNIT = 3,
};

/* What the table finds: @id is the number within the VM, of a VM 0. */
struct sim_object {
    uint32_t kind; /* enum sim_kind */
    uint32_t vm;
    uint32_t id;
};

struct sim_vm {
    struct sim_object object; /* must be first */
    struct sched_vm sched;
    struct sim_tag turn[SCHED_LANES];
    struct sim_tag age[SCHED_LANES];
};

struct sim_stream {
    struct sim_object object; /* must be first */
    struct sched_stream sched;
};

struct sim_unit {
    struct sim_object object; /* must be first */
    struct sched_unit sched;
    bool in_flight;
};

struct sim_table {
    struct sim_object **at;
    uint32_t capacity; /* 0 or a power of two */
    uint32_t count;
};

struct mediator_simulator {
    struct scheduler scheduler;
    struct sim_pool *pool[256];
    struct sim_table table;
    uint64_t now_ns;
    uint64_t next_order; /* as recorded; see sim_tag */
    uint32_t in_flight;
    bool in_state; /* between its begin and its end */
    bool broken;   /* a record was refused in between: only another begin helps */
};

/* sim_table.c */
struct sim_object *sim_find(const struct sim_table *table, enum sim_kind kind, uint32_t vm,
                            uint32_t id);
int sim_insert(struct sim_table *table, struct sim_object *object);
void sim_remove(struct sim_table *table, struct sim_object *object);
struct sim_object **sim_sorted(const struct sim_table *table);

/* sim_objects.c */
extern const struct record_names sim_names;
int sim_config(struct mediator_simulator *sim, const struct mediator_record *record);
struct sim_pool *sim_pool_find(const struct mediator_simulator *sim, uint8_t id);
int sim_pool_add(struct mediator_simulator *sim, const struct mediator_record *record);
int sim_pool_set(struct mediator_simulator *sim, const struct mediator_record *record);
int sim_pool_remove(struct mediator_simulator *sim, const struct mediator_record *record);
struct sim_vm *sim_vm_find(const struct mediator_simulator *sim, uint32_t vm);
int sim_vm_add(struct mediator_simulator *sim, const struct mediator_record *record);
int sim_vm_set(struct mediator_simulator *sim, const struct mediator_record *record);
int sim_vm_block(struct mediator_simulator *sim, const struct mediator_record *record);
int sim_stream_get(struct mediator_simulator *sim, const struct mediator_record *record,
                   struct sim_stream **out);
int sim_stream_init(struct mediator_simulator *sim, const struct mediator_record *record);
struct sim_unit *sim_unit_of(const struct sched_unit *unit);
struct sim_unit *sim_unit_find(const struct mediator_simulator *sim,
                               const struct mediator_record *record, bool in_flight);
int sim_unit_add(struct mediator_simulator *sim, const struct mediator_record *record,
                 struct sim_unit **out);
void sim_unit_forget(struct mediator_simulator *sim, struct sim_unit *unit);
void sim_forget(struct mediator_simulator *sim);

/* sim_state.c */
int sim_state_apply(struct mediator_simulator *sim, const struct mediator_record *record);

#endif
