/* SPDX-License-Identifier: MIT */
/* The lists of hub/limits.h turned into checks: every option against its default, its ceiling, and
 * whether it may be off. */
#include "hub/limits.h"

typedef struct limit_row {
    const char *name;
    size_t value, ceiling;
    bool may_be_off;
    size_t offset;
} limit_row_t;

#define ROW(type, name, value, ceiling, off) {#name, value, ceiling, off, offsetof(type, name)},
#define CONN_ROW(name, value, ceiling, off, at_limit) ROW(hub_limits_t, name, value, ceiling, off)
#define SERVER_ROW(name, value, ceiling, off, at_limit)                                            \
    ROW(hub_server_limits_t, name, value, ceiling, off)

static const limit_row_t CONN_ROWS[] = {HUB_LIMIT_MAP(CONN_ROW)};
static const limit_row_t SERVER_ROWS[] = {HUB_SERVER_LIMIT_MAP(SERVER_ROW)};

static hub_status_t resolve_row(const limit_row_t *row, size_t *value, hub_error_t *error)
{
    if (*value == 0) {
        *value = row->value;
    } else if (*value == HUB_OFF) {
        if (!row->may_be_off)
            return hub_error_set(error, HUB_EINVAL, 0,
                                 "limits: %s cannot be switched off, at most %zu is allowed",
                                 row->name, row->ceiling);
    } else if (*value > row->ceiling) {
        return hub_error_set(error, HUB_EINVAL, 0, "limits: %s = %zu: at most %zu is allowed%s",
                             row->name, *value, row->ceiling,
                             row->may_be_off ? ", or HUB_OFF" : "");
    }
    return HUB_OK;
}

static hub_status_t resolve(const limit_row_t *rows, size_t count, void *limits, hub_error_t *error)
{
    for (size_t i = 0; i != count; ++i) {
        size_t *value = (size_t *)(void *)((char *)limits + rows[i].offset);
        hub_status_t err = resolve_row(&rows[i], value, error);

        if (err != HUB_OK)
            return err;
    }
    return HUB_OK;
}

hub_status_t hub_limits_resolve(hub_limits_t *limits, hub_error_t *error)
{
    return resolve(CONN_ROWS, sizeof(CONN_ROWS) / sizeof(*CONN_ROWS), limits, error);
}

hub_status_t hub_server_limits_resolve(hub_server_limits_t *limits, hub_error_t *error)
{
    return resolve(SERVER_ROWS, sizeof(SERVER_ROWS) / sizeof(*SERVER_ROWS), limits, error);
}
