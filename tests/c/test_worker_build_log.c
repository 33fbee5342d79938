/*
 * test_worker_build_log.c - What a guest is not shown of a compiler's words
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "worker/build_log.h"

#define SCRATCH "/tmp/vgpu-spawn-Ab12/worker-7"

static bool shown(const char *log, const char *directory, const char *expected)
{
    char *made = build_log_hide(log, directory);
    bool same = made && strcmp(made, expected) == 0;

    if (!same)
        fprintf(stderr, "%s\n", made ? made : "(none)");
    free(made);
    return same;
}

static int blanked(const char *binary, size_t bytes, const char *directory, const char *expected)
{
    uint8_t *made = malloc(bytes); /* no more: a sanitizer sees every byte outside */
    int differs;

    if (!made)
        abort();
    memcpy(made, binary, bytes);
    build_log_blank(made, bytes, directory);
    differs = memcmp(made, expected, bytes);
    free(made);
    return differs;
}

int main(void)
{
    CASE("the file that was compiled is <program>, wherever it is named");
    CHECK(shown(SCRATCH "/t.cl:3:5: error: no\nIn " SCRATCH "/a/b.cl, once", SCRATCH,
                "<program>:3:5: error: no\nIn <program>, once"));
    CHECK(shown("at '" SCRATCH "/t'", SCRATCH, "at '<program>'"));
    CHECK(shown(SCRATCH "/t", SCRATCH, "<program>"));

    CASE("a text without it stays as it is, and so does what only starts alike");
    CHECK(shown("", SCRATCH, "") && shown("error: x / y", SCRATCH, "error: x / y"));
    CHECK(shown(SCRATCH "1/t.cl " SCRATCH "/t", SCRATCH, SCRATCH "1/t.cl <program>"));
    CHECK(shown("/a/b", NULL, "/a/b") && shown("/a/b", "", "/a/b"));

    CASE("a path that is shorter than what stands in its place makes the text longer");
    CHECK(shown("/s/a /s/b /s/c", "/s", "<program> <program> <program>"));

    CASE("in a binary the directory is overwritten, and nothing moves");
    CHECK(blanked("\0/s/d/t.cl\0/s/d", 15, "/s/d", "\0..../t.cl\0....") == 0);
    CHECK(blanked("/s/d/s/d/s/", 11, "/s/d", "......../s/") == 0);
    CHECK(blanked("a..b", 4, ".", "a..b") == 0);
    CHECK(blanked("/s/d", 4, NULL, "/s/d") == 0 && blanked("/s/d", 4, "", "/s/d") == 0);
    CHECK(blanked("/s", 2, "/s/d", "/s") == 0);
    return check_done();
}
