/* SPDX-License-Identifier: MIT */
/* The same facts in two forms: a table, and one JSON object with the histogram as it is, so that
 * plots can be made of it. */
#include "bench/load/output.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static double us(uint64_t ns)
{
    return (double)ns / 1e3;
}

/* ---- for machines ---- */

static void print_labels(const settings_t *settings)
{
    printf("\"labels\":{");
    for (size_t i = 0; i != settings->label_count; ++i) {
        const char *equals = strchr(settings->labels[i], '=');
        char key[128];

        snprintf(key, sizeof(key), "%.*s", (int)(equals - settings->labels[i]),
                 settings->labels[i]);
        if (i != 0)
            putchar(',');
        report_print_text(key);
        putchar(':');
        report_print_text(equals + 1);
    }
    putchar('}');
}

static void print_machine(const load_t *load)
{
    const report_machine_t *machine = report_machine(load->report);

    printf("\"commit\":");
    report_print_text(machine->commit);
    printf(",\"machine\":{\"kernel\":");
    report_print_text(machine->kernel);
    printf(",\"cpu\":");
    report_print_text(machine->cpu);
    printf(",\"cores\":%ld,\"pinned\":", sysconf(_SC_NPROCESSORS_ONLN));
    printf(load->settings->pin == UNPINNED ? "null}" : "%lu}", load->settings->pin);
}

static void print_faults(const ledger_t *ledger)
{
    const faults_t *faults = &ledger->faults;

    printf("\"clean\":%s,\"faults\":{\"lost\":%lu,\"duplicate\":%lu,\"misrouted\":%lu,"
           "\"reordered\":%lu,\"corrupted\":%lu,\"protocol\":%lu,\"closed\":%lu,\"first\":",
           ledger_is_clean(ledger) ? "true" : "false", faults->lost, faults->duplicate,
           faults->misrouted, faults->reordered, faults->corrupted, faults->protocol,
           faults->closed);
    report_print_text(faults->first);
    putchar('}');
}

static void print_latency(const histogram_t *latency)
{
    bool first = true;

    printf("\"latency_us\":{\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f,\"buckets\":[",
           us(histogram_percentile(latency, 0.5)), us(histogram_percentile(latency, 0.99)),
           us(histogram_percentile(latency, 0.999)), us(latency->max));
    for (size_t i = 0; i != HISTOGRAM_BUCKETS; ++i) {
        if (latency->buckets[i] == 0)
            continue;
        printf("%s[%.3f,%lu]", first ? "" : ",", us(histogram_upper(i)), latency->buckets[i]);
        first = false;
    }
    printf("]}");
}

static void print_json(const load_t *load)
{
    const settings_t *settings = load->settings;

    printf("{\"program\":\"load\",");
    print_machine(load);
    putchar(',');
    print_labels(settings);
    printf(",\"options\":{");
    settings_print_members(settings);
    printf("},");
    print_faults(&load->ledger);
    printf(",\"runs\":%lu,\"publishes\":%lu,\"deliveries\":%lu,", settings->runs,
           load->ledger.publishes, load->ledger.deliveries);
    print_latency(&load->latency);
    putchar(',');
    report_print_members(load->report);
    printf("}\n");
}

/* ---- for people ---- */

static void print_verdict(const ledger_t *ledger)
{
    const faults_t *faults = &ledger->faults;

    if (ledger_is_clean(ledger)) {
        printf("  clean: %lu publishes, %lu deliveries, each one checked\n", ledger->publishes,
               ledger->deliveries);
        return;
    }
    printf("  NOT CLEAN: lost %lu, duplicate %lu, misrouted %lu, reordered %lu, corrupted %lu, "
           "protocol %lu, closed %lu\n  the first: %s\n",
           faults->lost, faults->duplicate, faults->misrouted, faults->reordered, faults->corrupted,
           faults->protocol, faults->closed, faults->first);
}

static void print_table(const load_t *load)
{
    const settings_t *settings = load->settings;
    const report_machine_t *machine = report_machine(load->report);
    const histogram_t *latency = &load->latency;

    printf("%s  commit %s, %s, %s, ", WORKLOADS[settings->workload], machine->commit,
           machine->kernel, machine->cpu);
    printf(settings->pin == UNPINNED ? "not pinned\n " : "pinned to core %lu\n ", settings->pin);
    settings_print_line(settings);
    for (size_t i = 0; i != settings->label_count; ++i)
        printf(" --label %s", settings->labels[i]);
    printf("\n\n");
    report_print_figures(load->report);
    if (latency->count != 0)
        printf("  latency in us, of %lu deliveries: p50 %.1f, p99 %.1f, p99.9 %.1f, max %.1f\n",
               latency->count, us(histogram_percentile(latency, 0.5)),
               us(histogram_percentile(latency, 0.99)), us(histogram_percentile(latency, 0.999)),
               us(latency->max));
    print_verdict(&load->ledger);
}

void output_print(const load_t *load)
{
    if (load->settings->json)
        print_json(load);
    else
        print_table(load);
    fflush(stdout);
}
