/* SPDX-License-Identifier: MIT */
/* What other workers and nodes say of who is on a topic, to a tracker with members who are told of
 * it (test/assembly.h).
 *
 * Oracles: nobody joins twice or leaves who was not there, and in the end what members were told
 * adds up to the list that the tracker has; what its own members hold stays whatever others say;
 * when these have said goodbye, or have been silent for long enough, the list is what it was before
 * (exactly once); in the end nothing is kept (memory).
 *
 * Input: messages: a byte that chooses who says it, what and where, then JSON up to a newline. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "test/fuzz/fuzz.h"

#include <stdlib.h>

#include "bus/log.h"
#include "channels/replica.h"
#include "test/assembly.h"

#define OWNERS 3
#define FIRST_OWNER 77
#define MESSAGES 16
#define TOPIC 0

/* As the bus lets in; and as jansson, which reads what members get, can tell again. */
static bool is_heard(hub_str_t payload)
{
    json_error_t error;
    json_t *value = json_loadb(payload.base, payload.len, JSON_REJECT_DUPLICATES, &error);
    bool heard = value != NULL && hub_payload_check(hub_json(payload), 64, NULL) == HUB_OK;

    json_decref(value);
    return heard;
}

static void receive(assembly_t *assembly, fuzz_input_t *input)
{
    uint8_t choice = fuzz_byte(input);
    hub_str_t payload = fuzz_until(input, '\n'), event = HUB_STR("nonsense");
    hub__venue_t *venue = (choice & 64) != 0 ? NULL : assembly_venue(assembly, 0, TOPIC);
    char *copy = fuzz_copy(payload);

    if (choice / 4 % 8 < HUB__REPLICA_COUNT)
        event = hub__replica_event((hub__replica_kind_t)(choice / 4 % 8));
    if (is_heard(payload))
        hub__tracker_receive(assembly_tracker(assembly, 0), venue, FIRST_OWNER + choice % OWNERS,
                             event, hub_str_n(copy, payload.len), NULL);
    free(copy);
    if ((choice & 128) != 0)
        assembly_settle(assembly, 20);
}

static void check_list(assembly_t *assembly, const char *expected, const char *when)
{
    char *list = assembly_list(assembly, 0, TOPIC);

    FUZZ_CHECK(strcmp(list, expected) == 0, "%s: %s instead of %s", when, list, expected);
    free(list);
}

static void come(assembly_t *assembly)
{
    attendee_t *ann = assembly_come(assembly, 0, TOPIC, true);

    FUZZ_CHECK(ann != NULL && assembly_come(assembly, 0, TOPIC, true) != NULL, "nobody came");
    FUZZ_CHECK(hub__attendance_track(&ann->attendance, HUB_STR("ann"), HUB_JSON("{\"a\":1}")) ==
                   HUB_OK,
               "not tracked");
    assembly_settle(assembly, 20);
}

static void end_by_goodbye(assembly_t *assembly)
{
    for (uint64_t i = 0; i != OWNERS; ++i)
        hub__tracker_receive(assembly_tracker(assembly, 0), NULL, FIRST_OWNER + i,
                             hub__replica_event(HUB__REPLICA_BYE), HUB_STR("{}"), NULL);
    assembly_settle(assembly, 100);
}

/* In steps: a tracker that was away for so long itself does not judge. */
static void end_by_silence(assembly_t *assembly)
{
    for (int i = 0; i != 20; ++i)
        assembly_pass(assembly, ASSEMBLY_BEAT_MS / 2);
}

static void converse(fuzz_input_t input)
{
    uint8_t choice = fuzz_byte(&input);
    assembly_t *assembly = assembly_create(1, 1, NULL);
    char *before;

    come(assembly);
    before = assembly_list(assembly, 0, TOPIC);
    for (size_t i = 0; i != MESSAGES && input.len != 0; ++i)
        receive(assembly, &input);
    if (choice % 2 == 0)
        end_by_goodbye(assembly);
    else
        end_by_silence(assembly);
    assembly_settle(assembly, 100);
    assembly_check_views(assembly);
    check_list(assembly, before, choice % 2 == 0 ? "after goodbyes" : "after a long silence");
    free(before);
    assembly_destroy(assembly);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    setenv("CMOCKA_TEST_ABORT", "1", 1);
    hub_log_set_level(HUB_LOG_OFF);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_meter_t meter;

    fuzz_meter_begin();
    converse((fuzz_input_t){data, size});
    meter = fuzz_meter_end();
    FUZZ_CHECK(meter.held == 0, "%zu bytes are kept", meter.held);
    return 0;
}
