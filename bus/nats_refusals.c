/* SPDX-License-Identifier: MIT */
#include "bus/nats_refusals.h"

#include <stdlib.h>

#define SUBJECTS_MAX (256 * 1024)
#define KEY_BYTES 128 /* of a subject: the library keeps 255 of the text */

struct refusal {
    hub__table_node_t node;
    size_t times;
    bool publish;
    size_t len;
    char subject[];
};

static hub_str_t key_of(hub_str_t subject)
{
    return hub_str_n(subject.base, subject.len < KEY_BYTES ? subject.len : KEY_BYTES);
}

static struct refusal *find(const hub__nats_refusals_t *refusals, hub_str_t key, bool publish)
{
    uint64_t hash = hub__hash(key);
    hub__table_node_t *node = hub__table_chain(&refusals->subjects, hash);

    for (; node != NULL; node = node->next) {
        struct refusal *refusal = HUB__CONTAINER(node, struct refusal, node);

        if (node->hash == hash && refusal->publish == publish &&
            hub_str_equals(hub_str_n(refusal->subject, refusal->len), key))
            return refusal;
    }
    return NULL;
}

/* The subject stands between quotes; the end of a long one is missing. False: it is not about one.
 */
static bool read_text(const char *text, hub_str_t *ret_key, bool *ret_publish)
{
    const char *quote = strchr(text, '"'), *publish = strstr(text, "Publish"),
               *subscription = strstr(text, "Subscription");

    if (quote == NULL)
        return false;
    *ret_publish = publish != NULL && publish < quote;
    if (!*ret_publish && (subscription == NULL || subscription > quote))
        return false;
    *ret_key = key_of(hub_str_n(quote + 1, strcspn(quote + 1, "\"")));
    return true;
}

bool hub__nats_refusals_note(hub__nats_refusals_t *refusals, const char *text)
{
    struct refusal *refusal;
    hub_str_t key;
    bool publish;

    if (!read_text(text, &key, &publish))
        return true;
    refusal = find(refusals, key, publish);
    if (refusal != NULL) {
        refusal->times++;
        return true;
    }
    if (refusals->subjects.count >= SUBJECTS_MAX ||
        (refusal = malloc(sizeof(*refusal) + key.len)) == NULL)
        return false;
    *refusal = (struct refusal){.times = 1, .publish = publish, .len = key.len};
    memcpy(refusal->subject, key.base, key.len);
    refusal->node.hash = hub__hash(key);
    hub__table_insert(&refusals->subjects, &refusal->node);
    return true;
}

bool hub__nats_refusals_take(hub__nats_refusals_t *refusals, const char *subject, bool publish)
{
    struct refusal *refusal = find(refusals, key_of(hub_str(subject)), publish);

    if (refusal == NULL)
        return false;
    if (--refusal->times == 0) {
        hub__table_remove(&refusals->subjects, &refusal->node);
        free(refusal);
    }
    return true;
}

static void free_refusal(hub__table_node_t *node, void *user)
{
    (void)user;
    free(HUB__CONTAINER(node, struct refusal, node));
}

void hub__nats_refusals_clear(hub__nats_refusals_t *refusals)
{
    if (refusals->subjects.count > 0)
        hub__nats_refusals_dispose(refusals);
}

void hub__nats_refusals_dispose(hub__nats_refusals_t *refusals)
{
    hub__table_foreach(&refusals->subjects, free_refusal, NULL);
    hub__table_dispose(&refusals->subjects);
}
