/*
 * client_ring.c - The commands of vgpu-client over the ring: info, nop, build
 */
#include "client.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_BYTES_MAX   (16u * 1024 * 1024)
#define BUILD_LOG_BYTES  (64u * 1024)
#define NOP_REFUSALS_MAX 50 /* in a row */

int ring_client_open(const struct client_options *options, uint32_t depth,
                     struct ring_client *client, struct report *report)
{
    struct vgpu_session_options session = VGPU_SESSION_DEFAULTS;
    struct vgpu_reason why;
    int rc;

    *client = (struct ring_client){0};
    rc = vgpu_attach(options->ring, VGPU_FEATURES_ALL, (int)options->timeout_ms, &client->link,
                     &why);
    if (rc)
        return report_failed(report, rc == -ETIMEDOUT ? CLIENT_TIMEOUT : CLIENT_DETACHED, "%s",
                             why.text);
    session.timeout_ms = options->timeout_ms;
    session.depth = depth;
    rc = vgpu_queue_open(client->link, 0, &client->queue);
    if (!rc)
        rc = vgpu_session_open(client->queue, &session, &client->session);
    if (rc) {
        ring_client_close(client);
        return report_result(report, rc, "taking queue pair 0 into use");
    }
    return CLIENT_OK;
}

void ring_client_close(struct ring_client *client)
{
    vgpu_session_close(client->session);
    vgpu_queue_close(client->queue);
    vgpu_detach(client->link);
    *client = (struct ring_client){0};
}

int file_read(const char *path, char **text, size_t *bytes, struct report *report)
{
    FILE *file = fopen(path, "re");
    char *read = NULL;
    size_t got;

    if (!file)
        return report_failed(report, CLIENT_USAGE, "cannot open %s: %s", path, strerror(errno));
    read = malloc(FILE_BYTES_MAX + 1);
    if (!read) {
        fclose(file);
        return report_failed(report, CLIENT_NEGATIVE, "out of memory");
    }
    got = fread(read, 1, FILE_BYTES_MAX + 1, file);
    if (ferror(file) || got == 0 || got > FILE_BYTES_MAX) {
        const char *reason = ferror(file) ? strerror(errno) : got ? "over 16 MiB" : "empty";

        fclose(file);
        free(read);
        return report_failed(report, CLIENT_USAGE, "cannot use %s: %s", path, reason);
    }
    fclose(file);
    read[got] = '\0';
    *text = read;
    *bytes = got;
    return CLIENT_OK;
}

static const char *priority_text(uint8_t priority)
{
    static const char *const names[] = {"low", "medium", "high"};

    return priority < sizeof(names) / sizeof(names[0]) ? names[priority] : "unknown";
}

static void report_link(struct report *report, const struct vgpu_link *link)
{
    struct vgpu_link_facts facts;
    char pool[2] = "";

    vgpu_link_facts(link, &facts);
    if (isgraph((unsigned char)facts.pool_id))
        pool[0] = facts.pool_id;
    report_say(report,
               "VM             %" PRIu32 ", pool %s, priority %s\n"
               "Interface      %u.%u, generation %" PRIu32 "\n"
               "Shared memory  %.1f MiB: %" PRIu32 " queue pairs, each %" PRIu32
               " submissions, %" PRIu32 " completions, %.1f MiB of data\n"
               "Features       offered %#" PRIx64 ", agreed on %#" PRIx64 "\n",
               facts.vm_id, pool[0] ? pool : "none", priority_text(facts.priority), facts.major,
               facts.minor, facts.generation, (double)facts.region_bytes / 1048576.0,
               facts.pair_count, facts.sq_entries, facts.cq_entries,
               (double)facts.data_bytes / 1048576.0, facts.offered, facts.accepted);
    report_count(report, "vm_id", facts.vm_id);
    report_text(report, "pool", pool);
    report_text(report, "priority", priority_text(facts.priority));
    report_count(report, "major", facts.major);
    report_count(report, "minor", facts.minor);
    report_count(report, "generation", facts.generation);
    report_count(report, "pairs", facts.pair_count);
    report_count(report, "sq_entries", facts.sq_entries);
    report_count(report, "cq_entries", facts.cq_entries);
    report_count(report, "region_bytes", facts.region_bytes);
    report_count(report, "data_bytes", facts.data_bytes);
    report_count(report, "features_offered", facts.offered);
    report_count(report, "features_accepted", facts.accepted);
}

int ring_info(const struct client_options *options, struct report *report)
{
    struct vgpu_device_info info;
    struct ring_client client;
    int rc = ring_client_open(options, 1, &client, report);

    if (rc)
        return rc;
    report_link(report, client.link);
    rc = vgpu_device_info(client.session, &info);
    ring_client_close(&client);
    if (rc)
        return report_result(report, rc, "device information");
    report_device(report, &info);
    return report_done(report, CLIENT_OK);
}

/* ---- nop ---- */

struct nop_run {
    struct vgpu_session *session;
    uint8_t kind;
    const struct vgpu_command *command;
    uint64_t *tickets; /* a ring of `depth`: started[i % depth] */
    uint64_t *started_ns;
    float *took_us;
    uint64_t depth;
    uint64_t started;
    uint64_t finished;
    uint64_t refused;
    uint32_t refused_in_a_row;
};

static int nop_start(struct nop_run *run, uint64_t slot)
{
    int rc = vgpu_session_start(run->session, run->kind, run->command, &run->tickets[slot]);

    if (!rc)
        run->started_ns[slot] = vgpu_now_ns();
    return rc;
}

/* Finish the oldest one; a refusal for being busy is started again. Return: as a session call. */
static int nop_finish(struct nop_run *run)
{
    uint64_t slot = run->finished % run->depth;
    struct vgpu_completion answer;

    for (;;) {
        int rc = vgpu_session_finish(run->session, run->tickets[slot], &answer);
        struct timespec pause;
        uint64_t us;

        if (rc == VGPU_OK) {
            run->took_us[run->finished++] =
                (float)((double)(vgpu_now_ns() - run->started_ns[slot]) / 1e3);
            run->refused_in_a_row = 0;
            return 0;
        }
        if (rc != VGPU_BUSY && rc != VGPU_RATE && rc != VGPU_NO_CONTEXT)
            return rc;
        run->refused++;
        if (++run->refused_in_a_row > NOP_REFUSALS_MAX)
            return rc;
        us = answer.retry_after_us < 100 ? 100 : answer.retry_after_us;
        us = us > 1000000 ? 1000000 : us;
        pause = (struct timespec){.tv_sec = (time_t)(us / 1000000),
                                  .tv_nsec = (long)(us % 1000000) * 1000};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
        rc = nop_start(run, slot);
        if (rc)
            return rc;
    }
}

static int by_value(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

/* Set by Ctrl-C: no more are sent, those that are out are waited for. */
static volatile sig_atomic_t enough;

static void have_enough(int number)
{
    (void)number;
    enough = 1;
}

static int nop_all(struct nop_run *run, uint64_t count)
{
    while (enough ? run->finished < run->started : run->finished < count) {
        int rc = 0;

        while (!enough && run->started < count && run->started - run->finished < run->depth) {
            rc = nop_start(run, run->started % run->depth);
            if (rc)
                break;
            run->started++;
        }
        /* A full ring is no failure while there is something to finish. */
        if (rc && (rc != -EAGAIN || run->started == run->finished))
            return rc;
        rc = nop_finish(run);
        if (rc)
            return rc;
    }
    return 0;
}

int ring_nop(const struct client_options *options, struct report *report)
{
    struct nop_run run = {.kind = options->worker ? VGPU_KIND_COMMAND : VGPU_KIND_NOP,
                          .depth = options->depth};
    struct vgpu_command command;
    struct ring_client client;
    uint64_t memory, start_ns;
    double total_ms, p50_us, p99_us;
    int rc, exit_code = CLIENT_OK;

    rc = ring_client_open(options, (uint32_t)options->depth, &client, report);
    if (rc)
        return rc;
    run.session = client.session;
    run.tickets = calloc(options->depth, sizeof(*run.tickets));
    run.started_ns = calloc(options->depth, sizeof(*run.started_ns));
    run.took_us = calloc(options->count, sizeof(*run.took_us));
    if (!run.tickets || !run.started_ns || !run.took_us) {
        exit_code = report_failed(report, CLIENT_NEGATIVE, "out of memory");
        goto out;
    }
    if (options->worker) {
        void *bytes = vgpu_session_memory(client.session, 64, &memory);

        /* One command for all of them: the host only reads it. */
        vgpu_command_begin(&command, bytes, 64);
        vgpu_command_nop(&command);
        run.command = &command;
    }
    /* Who presses it again wants no numbers. */
    sigaction(SIGINT, &(struct sigaction){.sa_handler = have_enough, .sa_flags = (int)SA_RESETHAND},
              NULL);
    start_ns = vgpu_now_ns();
    rc = nop_all(&run, options->count);
    total_ms = (double)(vgpu_now_ns() - start_ns) / 1e6;
    report_count(report, "sent", run.started);
    report_count(report, "answered", run.finished);
    report_count(report, "busy", run.refused);
    if (rc) {
        exit_code = report_result(report, rc, "nop");
        goto out;
    }
    if (run.finished == 0) {
        exit_code = report_failed(report, CLIENT_NEGATIVE, "ended before anything was sent");
        goto out;
    }
    qsort(run.took_us, run.finished, sizeof(*run.took_us), by_value);
    p50_us = run.took_us[run.finished / 2];
    p99_us = run.took_us[run.finished - 1 - run.finished / 100];
    report_say(report,
               "%" PRIu64 " requests answered %s in %.3f ms: %.0f/s, median %.1f us, 99 %% within "
               "%.1f us.\n",
               run.finished, options->worker ? "by the worker" : "by vgpud", total_ms,
               (double)run.finished * 1e3 / total_ms, p50_us, p99_us);
    report_real(report, "total_ms", total_ms);
    report_real(report, "per_second", (double)run.finished * 1e3 / total_ms);
    report_real(report, "p50_us", p50_us);
    report_real(report, "p99_us", p99_us);
    exit_code = report_done(report, CLIENT_OK);
out:
    free(run.took_us);
    free(run.started_ns);
    free(run.tickets);
    ring_client_close(&client);
    return exit_code;
}

/* ---- build ---- */

int ring_build(const struct client_options *options, struct report *report)
{
    const char *path = options->operands[0];
    const uint32_t module = (uint32_t)getpid();
    struct vgpu_build_log log = {.room = BUILD_LOG_BYTES};
    struct ring_client client = {0};
    struct vgpu_device_info info;
    uint64_t start_ns;
    double build_ms;
    size_t bytes;
    char *text;
    int rc, exit_code;

    exit_code = file_read(path, &text, &bytes, report);
    if (exit_code)
        return exit_code;
    log.text = malloc(log.room);
    if (!log.text) {
        exit_code = report_failed(report, CLIENT_NEGATIVE, "out of memory");
        goto out;
    }
    log.text[0] = '\0';
    exit_code = ring_client_open(options, 1, &client, report);
    if (exit_code)
        goto out;
    rc = vgpu_device_info(client.session, &info);
    if (rc) {
        exit_code = report_result(report, rc, "device information");
        goto out;
    }
    start_ns = vgpu_now_ns();
    rc = vgpu_module_load(client.session, module, device_text_kind(&info), text, bytes, NULL, &log);
    build_ms = (double)(vgpu_now_ns() - start_ns) / 1e6;
    if (rc == VGPU_OK)
        rc = vgpu_module_unload(client.session, module);
    report_say(report, "%s%s", log.text, log.bytes && log.text[log.bytes - 1] != '\n' ? "\n" : "");
    report_text(report, "log", log.text);
    report_real(report, "build_ms", build_ms);
    if (rc) {
        exit_code = report_result(report, rc, path);
        goto out;
    }
    report_say(report, "%s compiles (%.1f ms).\n", path, build_ms);
    exit_code = report_done(report, CLIENT_OK);
out:
    ring_client_close(&client);
    free(log.text);
    free(text);
    return exit_code;
}
