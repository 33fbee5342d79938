/*
 * test_spawn_held.c - The table of held descriptors: who owns what, and what is never exceeded
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "check.h"
#include "spawn/held.h"

#define MAX_FDS 40

static int new_fd(void)
{
    return eventfd(0, EFD_CLOEXEC);
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int put_one(struct held *held, const char *key, uint32_t arg, int *fd)
{
    *fd = new_fd();
    return held_put(held, key, arg, fd, 1);
}

static uint32_t count_entries(const struct held *held, const char *prefix)
{
    uint32_t cursor = 0, count = 0;

    while (held_next(held, prefix, &cursor)) {
        count++;
    }
    return count;
}

static void test_ownership(void)
{
    struct held *held = held_new(MAX_FDS);
    uint32_t cursor = 0;
    const struct held_entry *entry;
    int first, second, rejected;

    CASE("a held descriptor stays open and is returned with its word");
    CHECK(put_one(held, "key", 7, &first) == 0);
    entry = held_next(held, "", &cursor);
    CHECK(entry && entry->arg == 7 && entry->fd_count == 1 && entry->fds[0] == first);
    CHECK(is_open(first));

    CASE("replacing closes what was held");
    CHECK(put_one(held, "key", 8, &second) == 0);
    CHECK(!is_open(first) && is_open(second));
    CHECK(count_entries(held, "") == 1 && held_fd_count(held) == 1);

    CASE("what is refused remains the caller's");
    rejected = new_fd();
    CHECK(held_put(held, "other", 0, &rejected, 0) == -EINVAL);
    CHECK(held_put(held, "other", 0, &rejected, SPAWN_MAX_FDS + 1) == -EINVAL);
    CHECK(is_open(rejected));
    close(rejected);

    CASE("dropping closes exactly that entry, once");
    CHECK(put_one(held, "key2", 0, &first) == 0);
    CHECK(held_drop(held, "key") == 0);
    CHECK(!is_open(second) && is_open(first));
    CHECK(held_drop(held, "key") == -ENOENT);

    CASE("freeing closes the rest");
    held_free(held);
    CHECK(!is_open(first));
}

static void test_bound(void)
{
    struct held *held = held_new(MAX_FDS);
    int fds[SPAWN_MAX_FDS], extra;

    CASE("no more descriptors are held than allowed, and the old entry then remains");
    for (int i = 0; i < SPAWN_MAX_FDS; i++) {
        fds[i] = new_fd();
    }
    CHECK(held_put(held, "many", 1, fds, SPAWN_MAX_FDS) == 0);
    for (int i = 0; i < MAX_FDS - SPAWN_MAX_FDS; i++) {
        char key[16];

        snprintf(key, sizeof(key), "key%d", i);
        CHECK(put_one(held, key, 0, &extra) == 0);
    }
    CHECK(held_fd_count(held) == MAX_FDS);
    CHECK(put_one(held, "one more", 0, &extra) == -ENOSPC);
    CHECK(is_open(extra) && is_open(fds[0]) && held_fd_count(held) == MAX_FDS);

    CASE("what a replacement frees may be used by it");
    CHECK(held_put(held, "many", 2, &extra, 1) == 0);
    CHECK(!is_open(fds[0]) && !is_open(fds[SPAWN_MAX_FDS - 1]));
    CHECK(held_fd_count(held) == MAX_FDS - SPAWN_MAX_FDS + 1);

    CASE("clearing leaves an empty table that can be used");
    held_clear(held);
    CHECK(held_fd_count(held) == 0 && count_entries(held, "") == 0 && !is_open(extra));
    CHECK(put_one(held, "key", 0, &extra) == 0 && count_entries(held, "key") == 1);
    held_free(held);

    CASE("a table without room, or with absurdly much, is not made");
    CHECK(!held_new(0) && errno == EINVAL);
    CHECK(!held_new(1u << 25) && errno == EINVAL);
}

static void test_walk(void)
{
    struct held *held = held_new(MAX_FDS);
    uint32_t cursor = 0;
    const struct held_entry *entry;
    int fd;

    CASE("a walk finds the keys with the prefix");
    CHECK(put_one(held, "vm/1/a", 0, &fd) == 0);
    CHECK(put_one(held, "vm/1/b", 0, &fd) == 0);
    CHECK(put_one(held, "vm/2/a", 0, &fd) == 0);
    CHECK(count_entries(held, "vm/1/") == 2 && count_entries(held, "vm/") == 3);
    CHECK(count_entries(held, "") == 3 && count_entries(held, "vm/1/a/b") == 0);

    CASE("a walk finds what stays exactly once, whatever comes and goes meanwhile");
    entry = held_next(held, "vm/", &cursor);
    CHECK(entry && strcmp(entry->key, "vm/1/a") == 0);
    CHECK(held_drop(held, "vm/1/a") == 0);
    CHECK(put_one(held, "vm/3/a", 0, &fd) == 0);
    CHECK(put_one(held, "vm/1/b", 9, &fd) == 0);
    entry = held_next(held, "vm/", &cursor);
    CHECK(entry && strcmp(entry->key, "vm/1/b") == 0 && entry->arg == 9);
    entry = held_next(held, "vm/", &cursor);
    CHECK(entry && strcmp(entry->key, "vm/2/a") == 0);
    CHECK(!held_next(held, "vm/", &cursor));
    held_free(held);
}

/* Against an array that does the same without thinking. */
static void test_many_changes(void)
{
    enum { KEYS = 60, STEPS = 20000 };
    struct held *held = held_new(MAX_FDS);
    bool model[KEYS] = {false};
    uint32_t state = 12345, count = 0, wrong = 0;
    char key[16];

    CASE("after many changes the table holds what a plain array says");
    for (int step = 0; step < STEPS; step++) {
        uint32_t number;
        int fd, rc;

        state = state * 1664525u + 1013904223u;
        number = (state >> 8) % KEYS;
        snprintf(key, sizeof(key), "k/%u", number);
        if (state >> 31) {
            rc = put_one(held, key, number, &fd);
            if (rc < 0) {
                close(fd);
                wrong += model[number] || count < MAX_FDS;
            } else {
                count += !model[number];
                model[number] = true;
            }
        } else {
            rc = held_drop(held, key);
            wrong += (rc == 0) != model[number];
            count -= model[number];
            model[number] = false;
        }
        wrong += held_fd_count(held) != count;
    }
    for (uint32_t number = 0; number < KEYS; number++) {
        uint32_t cursor = 0;
        const struct held_entry *entry;
        bool found = false;

        snprintf(key, sizeof(key), "k/%u", number);
        while ((entry = held_next(held, key, &cursor))) {
            found |= strcmp(entry->key, key) == 0 && entry->arg == number;
        }
        wrong += found != model[number];
    }
    CHECK(wrong == 0);
    held_free(held);
}

static void test_keys(void)
{
    char key[SPAWN_KEY_BYTES];

    CASE("keys are printable words that end within their field");
    memset(key, 'x', sizeof(key));
    CHECK(!held_key_valid(key, false));
    key[sizeof(key) - 1] = '\0';
    CHECK(held_key_valid(key, false));
    memset(key, 0, sizeof(key));
    CHECK(!held_key_valid(key, false) && held_key_valid(key, true));
    for (int byte = 1; byte < 256; byte++) {
        key[0] = (char)byte;
        CHECK(held_key_valid(key, false) == (byte > ' ' && byte <= '~'));
    }
}

int main(void)
{
    test_ownership();
    test_bound();
    test_walk();
    test_many_changes();
    test_keys();
    return check_done();
}
