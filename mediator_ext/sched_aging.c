/*
 * sched_aging.c - What has waited too long goes first, for a bounded share of the time
 *
 * Theory of operation
 *
 * Strict classes starve those below a class that is never idle. So a VM that has waited longer than
 * aging_after_ns may be picked before higher classes: of all such the one that has waited longest.
 * Its wait counts from the later of its head unit's arrival and the last time that something of it
 * was served; so depth buys nothing, as whoever was just served is at the end of the line again.
 *
 * Aged work gets at most aging_share percent of the time: an account is credited with that part of
 * all that the pool was served (scope global: the device), and debited with what aged work was. Aged
 * work is picked only while the account is not below 0. What is above 0 when nobody has waited too
 * long is dropped, so that nothing is saved up for a burst; when somebody has, it is what a stretch
 * without a pick (units of one VM, one behind the other) has withheld, and is kept. So in any interval
 * of T aged work has at most share x (T + the longest such stretch) and one unit more, and while
 * somebody waits too long it has all of its share.
 *
 * Each level has a second heap, by the time since when its VMs wait. A key can fall behind when a
 * VM's head is cancelled; that is mended when it comes to the top.
 */
#include "sched_parts.h"

/** sched_waits_since() - Since when a VM that has ready streams waits */
uint64_t sched_waits_since(const struct sched_party *party)
{
    uint64_t arrival_ns = party->ready->head->arrival_ns;

    return arrival_ns > party->served_ns ? arrival_ns : party->served_ns;
}

/** sched_aging_served() - Something of a VM was picked or came back: its wait begins anew */
void sched_aging_served(struct sched_level *level, struct sched_party *party, uint64_t now_ns)
{
    party->served_ns = now_ns;
    party->age.key = now_ns;
    sched_heap_rekey(&level->waiting, &party->age);
}

/* The node that has waited longest in a level, its key right; NULL = nobody waits. */
static struct sched_node *oldest(struct sched_level *level, enum sched_lane lane)
{
    while (level->waiting.count) {
        struct sched_node *node = level->waiting.at[0];
        const struct sched_vm *vm = node->owner;
        uint64_t since_ns = sched_waits_since(&vm->party[lane]);

        if (since_ns <= node->key)
            return node;
        node->key = since_ns;
        sched_heap_rekey(&level->waiting, node);
    }
    return NULL;
}

static int64_t *account(struct scheduler *s, struct sched_pool *pool, enum sched_lane lane)
{
    return s->config.scope == SCHED_SCOPE_GLOBAL ? &s->lane[lane].aging_ns
                                                 : &pool->lane[lane].aging_ns;
}

/* The older of @best and whoever in @pool has waited too long in a class below @top. */
static struct sched_node *oldest_of_pool(struct scheduler *s, struct sched_pool *pool,
                                         enum sched_lane lane, int top, uint64_t now_ns,
                                         struct sched_node *best)
{
    for (int class = 0; class < top; class++) {
        struct sched_node *node = oldest(&pool->lane[lane].level[class], lane);

        if (node && now_ns - node->key >= s->config.aging_after_ns && now_ns >= node->key &&
            (!best || node->key < best->key))
            best = node;
    }
    return best;
}

/**
 * sched_aging_pick() - Who has waited too long below class @top, and may go first
 * @pool: whose turn it is; not asked in scope global, where all enabled pools are looked at
 *
 * Return: the VM that has waited longest, or NULL
 */
struct sched_vm *sched_aging_pick(struct scheduler *s, struct sched_pool *pool,
                                  enum sched_lane lane, int top, uint64_t now_ns)
{
    int64_t *aging_ns = account(s, pool, lane);
    struct sched_node *best = NULL;

    if (s->config.aging_share == 0 || *aging_ns < 0)
        return NULL;
    if (s->config.scope == SCHED_SCOPE_POOL) {
        best = oldest_of_pool(s, pool, lane, top, now_ns, NULL);
    } else if (top > SCHED_LOW) { /* below it there is nobody in any pool */
        for (struct sched_pool *each = s->pools; each; each = each->next)
            if (each->enabled)
                best = oldest_of_pool(s, each, lane, top, now_ns, best);
    }
    if (best)
        return best->owner;
    *aging_ns = 0;
    return NULL;
}

/* As oldest(), but nothing is mended: all are looked at. */
static const struct sched_node *oldest_as_is(const struct sched_level *level, enum sched_lane lane,
                                             uint64_t *key)
{
    const struct sched_node *found = NULL;

    for (uint32_t i = 0; i < level->waiting.count; i++) {
        const struct sched_node *node = level->waiting.at[i];
        const struct sched_vm *vm = node->owner;
        uint64_t since_ns = sched_waits_since(&vm->party[lane]);

        if (since_ns < node->key)
            since_ns = node->key;
        if (!found || since_ns < *key || (since_ns == *key && node->order < found->order)) {
            found = node;
            *key = since_ns;
        }
    }
    return found;
}

/**
 * sched_aging_would_pick() - What sched_aging_pick() would return now; looks at all, changes nothing
 */
const struct sched_vm *sched_aging_would_pick(const struct scheduler *s,
                                              const struct sched_pool *pool, enum sched_lane lane,
                                              int top, uint64_t now_ns)
{
    bool global = s->config.scope == SCHED_SCOPE_GLOBAL;
    const struct sched_node *best = NULL;
    uint64_t best_key = 0, key = 0;

    if (s->config.aging_share == 0 ||
        (global ? s->lane[lane].aging_ns : pool->lane[lane].aging_ns) < 0)
        return NULL;
    for (const struct sched_pool *each = s->pools; each; each = each->next)
        for (int class = 0; (global ? each->enabled : each == pool) && class < top; class++) {
            const struct sched_node *node =
                oldest_as_is(&each->lane[lane].level[class], lane, &key);

            if (node && now_ns >= key && now_ns - key >= s->config.aging_after_ns &&
                (!best || key < best_key)) {
                best = node;
                best_key = key;
            }
        }
    return best ? best->owner : NULL;
}

/** sched_aging_picked() - An aged unit was picked: charge what it will cost, by estimate */
void sched_aging_picked(struct scheduler *s, struct sched_pool *pool, enum sched_lane lane,
                        uint64_t estimate_ns)
{
    *account(s, pool, lane) -= (int64_t)estimate_ns;
}

/**
 * sched_aging_settled() - A unit came back: its time is credited, and charged if it was aged
 * @charged_ns: what its pick has charged
 */
void sched_aging_settled(struct scheduler *s, struct sched_pool *pool, enum sched_lane lane,
                         bool aged, uint64_t charged_ns, uint64_t cost_ns)
{
    int64_t *aging_ns = account(s, pool, lane);
    uint32_t share = s->config.aging_share;

    *aging_ns += (int64_t)(cost_ns / 100 * share + cost_ns % 100 * share / 100);
    if (aged)
        *aging_ns -= (int64_t)(cost_ns - charged_ns);
}
