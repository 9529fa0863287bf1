/* bus/nats_refusals.h - private: what a NATS server's permissions forbade, until whoever asked for
 * it is told. The server names the subject in words ("Permissions Violation for Publish to
 * "hub.a""), once for each publish or subscription. Not locked: the owner's lock guards it. */
#pragma once

#include "bus/table.h"

typedef struct hub__nats_refusals {
    hub__table_t subjects;
} hub__nats_refusals_t;

/* False: there are more than anybody asks for, or no memory: what was refused is not known any
 * more. */
bool hub__nats_refusals_note(hub__nats_refusals_t *refusals, const char *text);
/* Whether this publish, or subscription, was refused. Each answers for one. */
bool hub__nats_refusals_take(hub__nats_refusals_t *refusals, const char *subject, bool publish);
/* Nobody waits for any. */
void hub__nats_refusals_clear(hub__nats_refusals_t *refusals);
void hub__nats_refusals_dispose(hub__nats_refusals_t *refusals);
