/*
 * test_spin.c - When it is worth to look before sleeping
 */
#include "check.h"
#include "spin.h"

#define LIMIT_US 20u
#define SHORT_NS 20000u
#define LONG_NS  20001u

static void note(struct spin *spin, uint64_t waited_ns, int times)
{
    for (int i = 0; i < times; i++)
        spin_note(spin, LIMIT_US, waited_ns);
}

int main(void)
{
    struct spin spin = {0};

    CASE("at first it is not, nor ever without a limit");
    CHECK(!spin_worth(&spin, LIMIT_US));
    note(&spin, SHORT_NS, 100);
    CHECK(spin_worth(&spin, LIMIT_US) && !spin_worth(&spin, 0));

    CASE("one long wait among short ones changes nothing");
    note(&spin, LONG_NS, 1);
    CHECK(spin_worth(&spin, LIMIT_US));

    CASE("a few long ones in a row do");
    note(&spin, LONG_NS, 3);
    CHECK(!spin_worth(&spin, LIMIT_US));

    CASE("every other one long is not enough, one of eight is not too much");
    for (int i = 0; i < 100; i++)
        note(&spin, i % 2 ? SHORT_NS : LONG_NS, 1);
    CHECK(!spin_worth(&spin, LIMIT_US));
    for (int i = 0; i < 100; i++)
        note(&spin, i % 8 ? SHORT_NS : LONG_NS, 1);
    CHECK(spin_worth(&spin, LIMIT_US));

    CASE("short waits that were slept through make it worth again");
    note(&spin, LONG_NS, 1000);
    note(&spin, SHORT_NS, 20);
    CHECK(spin_worth(&spin, LIMIT_US));
    return check_done();
}
