/* SPDX-License-Identifier: MIT */
/* What happens to connections happens to those of one node or of both, as it is drawn: what one
 * node loses the other must notice by itself, while its own connection stands. */
#define _GNU_SOURCE
#include "test/mishap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bus/buffer.h"
#include "test/port.h"

#define BACK_MS 5000
#define DEAF_MS 5000 /* to find out, where nobody tells */
#define ALL_NODES ((1U << CELL_NODES) - 1)
#define FLOOD_BYTES ((size_t)512 * 1024)
#define REDIS_FLOOD 8 /* of those */
#define NATS_FLOOD 48
#define DIAL_LIMIT_S 5
#define FLAPS 5
#define FLAP_MS 300

/* One or both. */
static unsigned draw_nodes(cell_t *cell)
{
    if (cell->one_sided)
        return 1U << cell_draw(cell, CELL_NODES);
    return 1 + cell_draw(cell, ALL_NODES);
}

static bool is_hit(unsigned nodes, unsigned node)
{
    return (nodes >> node & 1) != 0;
}

/* ---- the broker ---- */

static bool kill_broker(cell_t *cell, unsigned *ret_hit)
{
    *ret_hit = ALL_NODES;
    broker_kill(cell->broker);
    return true;
}

static bool restart_broker(cell_t *cell)
{
    return broker_restart(cell->broker, false);
}

static bool restart_empty(cell_t *cell)
{
    return broker_restart(cell->broker, true);
}

static bool pause_broker(cell_t *cell, unsigned *ret_hit)
{
    *ret_hit = ALL_NODES;
    broker_pause(cell->broker);
    return true;
}

static bool continue_broker(cell_t *cell)
{
    broker_continue(cell->broker);
    return true;
}

static bool revoke_user(cell_t *cell, unsigned *ret_hit)
{
    *ret_hit = ALL_NODES;
    return broker_revoke(cell->broker);
}

static bool grant_user(cell_t *cell)
{
    return broker_grant(cell->broker);
}

/* ---- connections ---- */

static void reset_nodes(cell_t *cell, unsigned nodes)
{
    for (unsigned i = 0; i < CELL_NODES; i++) {
        if (is_hit(nodes, i))
            proxy_reset(cell->nodes[i].proxy);
    }
}

static bool reset_some(cell_t *cell, unsigned *ret_hit)
{
    *ret_hit = draw_nodes(cell);
    reset_nodes(cell, *ret_hit);
    return true;
}

/* Again and again, also while the nodes connect or subscribe. */
static bool flap(cell_t *cell, unsigned *ret_hit)
{
    for (int i = 0; i < FLAPS; i++) {
        unsigned nodes = draw_nodes(cell);

        reset_nodes(cell, nodes);
        *ret_hit |= nodes;
        cell_pause_ms(cell_draw(cell, FLAP_MS));
    }
    return true;
}

static bool deafen(cell_t *cell, unsigned *ret_hit)
{
    proxy_way_t way = (proxy_way_t)(1 + cell_draw(cell, 3));

    *ret_hit = draw_nodes(cell);
    for (unsigned i = 0; i < CELL_NODES; i++) {
        if (is_hit(*ret_hit, i))
            proxy_deafen(cell->nodes[i].proxy, way);
    }
    return true;
}

/* What no parser takes, or the head of something long, which swallows what follows. */
static bool inject_garbage(cell_t *cell, unsigned *ret_hit)
{
    static const struct {
        const char *bytes;
        size_t size;
    } heads[BROKER_KINDS] = {
        [BROKER_REDIS] = {"$900000\r\n", 9},
        [BROKER_NATS] = {"MSG x 1 900000\r\n", 16},
        [BROKER_POSTGRES] = {"A\0\x0d\xbb\xa0", 5},
    };
    char noise[300];
    size_t size = 1 + cell_draw(cell, sizeof(noise) - 2);
    hub_str_t bytes;

    for (size_t i = 0; i < size; i++)
        noise[i] = (char)cell_draw(cell, 256);
    noise[size++] = '\n';
    bytes = cell_draw(cell, 2) == 0 ? hub_str_n(noise, size)
                                    : hub_str_n(heads[cell->kind].bytes, heads[cell->kind].size);
    *ret_hit = draw_nodes(cell);
    for (unsigned i = 0; i < CELL_NODES; i++) {
        if (is_hit(*ret_hit, i))
            proxy_inject(cell->nodes[i].proxy, bytes.base, bytes.len);
    }
    return true;
}

/* ---- more than a subscriber reads: the broker ends the connection ---- */

/* The channel of room 0 in what PUBSUB CHANNELS said; absent: there is none. */
static hub_str_t find_channel(const char *said)
{
    const char *end = said == NULL ? NULL : strstr(said, "room:0\r\n"), *begin = end;

    while (begin != NULL && begin > said && begin[-1] != '\n')
        begin--;
    return begin == NULL ? (hub_str_t){0}
                         : hub_str_n(begin, (size_t)(end - begin) + strlen("room:0"));
}

static bool flood_redis(cell_t *cell)
{
    char *said = broker_admin(cell->broker, "PUBSUB CHANNELS"), *answer = NULL, command[512];
    hub_str_t channel = find_channel(said);

    if (channel.len > 0) {
        snprintf(command, sizeof(command),
                 "EVAL \"for i = 1, %d do redis.call('PUBLISH', '%.*s', string.rep('x', %zu)) end\""
                 " 0",
                 REDIS_FLOOD, HUB_STR_ARG(channel), FLOOD_BYTES);
        answer = broker_admin(cell->broker, command);
    }
    free(said);
    free(answer);
    return answer != NULL;
}

static bool send_all(int fd, hub_str_t bytes)
{
    return send(fd, bytes.base, bytes.len, MSG_NOSIGNAL) == (ssize_t)bytes.len;
}

/* Reads lines until one ends, or has before a blank, `what`; false: none came. */
static bool read_line(FILE *from, const char *what, char *ret_line, size_t size)
{
    for (int i = 0; i < 10000 && fgets(ret_line, (int)size, from) != NULL; i++) {
        const char *at = strstr(ret_line, what);

        if (at != NULL && (at[strlen(what)] == ' ' || at[strlen(what)] == '\r'))
            return true;
    }
    return false;
}

/* The subject of room 0, whatever a topic is there: somebody is talking there all the time. */
static bool learn_subject(int fd, FILE *from, char *ret_subject, size_t size)
{
    char line[2048];

    if (!send_all(fd, HUB_STR("CONNECT {\"verbose\":false}\r\nSUB > 1\r\n")) ||
        !read_line(from, "room:0", line, sizeof(line)) || strncmp(line, "MSG ", 4) != 0)
        return false;
    snprintf(ret_subject, size, "%.*s", (int)strcspn(line + 4, " "), line + 4);
    return send_all(fd, HUB_STR("UNSUB 1\r\n"));
}

static bool flood_subject(int fd, FILE *from, const char *subject)
{
    hub__buffer_t text = {0};
    char line[256], *end;
    bool sent = true;

    hub__buffer_printf(&text, "PUB %s %zu\r\n", subject, FLOOD_BYTES);
    end = hub__buffer_reserve(&text, FLOOD_BYTES + 2);
    memset(end, 'x', FLOOD_BYTES);
    memcpy(end + FLOOD_BYTES, "\r\n", 2);
    text.len += FLOOD_BYTES + 2;
    for (int i = 0; i < NATS_FLOOD && sent; i++)
        sent = send_all(fd, hub__buffer_str(&text));
    hub__buffer_dispose(&text);
    return sent && send_all(fd, HUB_STR("PING\r\n")) && read_line(from, "PONG", line, sizeof(line));
}

/* The server waits for a connection that takes nothing as long as its write_deadline says. */
static bool flood_nats(cell_t *cell)
{
    int fd = port_dial(broker_port(cell->broker), DIAL_LIMIT_S);
    FILE *from = fd == -1 ? NULL : fdopen(fd, "r");
    char subject[1200];
    bool done;

    if (from == NULL)
        return false;
    done = learn_subject(fd, from, subject, sizeof(subject));
    for (unsigned i = 0; i < CELL_NODES; i++)
        proxy_hold(cell->nodes[i].proxy, true);
    done = done && flood_subject(fd, from, subject);
    cell_pause_ms(300);
    for (unsigned i = 0; i < CELL_NODES; i++)
        proxy_hold(cell->nodes[i].proxy, false);
    fclose(from);
    return done;
}

static bool fill_output(cell_t *cell, unsigned *ret_hit)
{
    *ret_hit = ALL_NODES;
    return cell->kind == BROKER_REDIS ? flood_redis(cell) : flood_nats(cell);
}

/* ---- all of them ---- */

const mishap_t mishaps[] = {
    {"kill", kill_broker, restart_broker, 1000, BACK_MS, .kinds = 0},
    {"empty", kill_broker, restart_empty, 1000, BACK_MS, .kinds = 0},
    {"stop3", pause_broker, continue_broker, 3000, BACK_MS, .unfelt = true},
    {"stop15", pause_broker, continue_broker, 15000, BACK_MS, .kinds = 0},
    {"reset", reset_some, NULL, 0, BACK_MS, .kinds = 0},
    {"flap", flap, NULL, 0, BACK_MS, .kinds = 0},
    {"halfopen", deafen, NULL, 0, DEAF_MS + BACK_MS, .deaf = true},
    {"garbage", inject_garbage, NULL, 0, DEAF_MS + BACK_MS, .deaf = true},
    {"auth", revoke_user, grant_user, 1000, BACK_MS, .shuts_out = true},
    {"output", fill_output, NULL, 0, BACK_MS, .kinds = 1U << BROKER_REDIS | 1U << BROKER_NATS},
};

const size_t mishap_count = sizeof(mishaps) / sizeof(mishaps[0]);

const mishap_t *mishap_find(const char *name, broker_kind_t kind)
{
    for (size_t i = 0; i < mishap_count; i++) {
        if (strcmp(mishaps[i].name, name) == 0)
            return mishaps[i].kinds == 0 || (mishaps[i].kinds >> kind & 1) != 0 ? &mishaps[i]
                                                                                : NULL;
    }
    return NULL;
}

broker_options_t mishap_broker_options(const mishap_t *mishap, broker_kind_t kind)
{
    static const char *const redis[] = {"client-output-buffer-limit pubsub 1mb 1mb 0", NULL};
    static const char *const nats[] = {"max_pending: 1048576", "write_deadline: \"100ms\"", NULL};
    bool output = mishap->begin == fill_output;

    return (broker_options_t){.config = !output                ? NULL
                                        : kind == BROKER_REDIS ? redis
                                                               : nats,
                              .password = mishap->shuts_out};
}
