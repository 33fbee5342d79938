/*
 * test_spawn_uids.c - Ranges of uids: none twice, none of people's, one number per slot and role
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "spawn/uids.h"

static char lock_file[] = "/tmp/vgpu-uids-XXXXXX";

static int reserve(struct uid_range *range, uint32_t base, uint32_t slots)
{
    *range = (struct uid_range){.lock_fd = -1};
    return uids_reserve(range, base, slots, lock_file);
}

static void test_ranges(void)
{
    struct uid_range first, second, third;

    CASE("ranges that meet are not given twice");
    CHECK(reserve(&first, 400000, 8) == 0);
    CHECK(reserve(&second, 400000, 8) == -EBUSY);
    CHECK(reserve(&second, 400028, 8) == -EBUSY);
    CHECK(reserve(&second, 399996, 2) == -EBUSY);
    CHECK(reserve(&second, 400032, 8) == 0);

    CASE("a range that was given back can be had again");
    uids_release(&first);
    CHECK(!first.enabled);
    CHECK(reserve(&first, 400000, 8) == 0);
    uids_release(&first);
    uids_release(&second);

    CASE("without a wish everybody gets a range of his own");
    CHECK(reserve(&first, 0, 2048) == 0 && reserve(&second, 0, 16384) == 0);
    CHECK(reserve(&third, 0, 1) == 0);
    CHECK(second.base >= first.base + 2048 * UIDS_PER_SLOT);
    CHECK(third.base >= second.base + 16384 * UIDS_PER_SLOT);
    uids_release(&first);
    uids_release(&second);
    uids_release(&third);

    CASE("uids of people, services and dynamic users are refused");
    CHECK(reserve(&first, 1000, 1) == -EINVAL);
    CHECK(reserve(&first, 60576, 1) == -EINVAL);
    CHECK(reserve(&first, 61000, 64) == -EINVAL);
    CHECK(reserve(&first, 65532, 1) == -EINVAL);
    CHECK(reserve(&first, 2147483644u, 1) == -EINVAL);
    CHECK(reserve(&first, 60580, 64) == 0);
    uids_release(&first);

    CASE("a base between two slots is refused");
    CHECK(reserve(&first, 400002, 8) == -EINVAL);

    CASE("a lock file that cannot be opened is an error");
    CHECK(uids_reserve(&first, 0, 1, "/nowhere/uids") == -ENOENT);
}

static void test_numbers(void)
{
    struct uid_range range = {.enabled = true, .base = 400000, .slots = 50, .lock_fd = -1};
    struct uid_range none = {.lock_fd = -1};
    uint32_t last = 0;
    bool rising = true;

    CASE("every slot and role has its own number, and all are within the range");
    for (uint32_t slot = 0; slot < range.slots; slot++) {
        for (int role = SPAWN_ROLE_LAUNCH; role <= SPAWN_ROLE_PROBE; role++) {
            uint32_t uid = uids_of(&range, slot, (enum spawn_role)role);

            rising &= uid > last && uid >= 400000 && uid < 400200;
            last = uid;
        }
    }
    CHECK(rising);

    CASE("without a range a worker keeps the spawner's uid");
    CHECK(uids_of(&none, 3, SPAWN_ROLE_BUILD) == geteuid());

    CASE("only numbers of workers are swept");
    CHECK(uids_sweep(&none, 400000) == -EINVAL);
    CHECK(uids_sweep(&range, 0) == -EINVAL);
    CHECK(uids_sweep(&range, 399999) == -EINVAL);
    CHECK(uids_sweep(&range, 400003) == -EINVAL);
    CHECK(uids_sweep(&range, 400200) == -EINVAL);
}

int main(void)
{
    int fd = mkstemp(lock_file);

    if (fd < 0) {
        return EXIT_FAILURE;
    }
    close(fd);
    test_ranges();
    test_numbers();
    unlink(lock_file);
    return check_done();
}
