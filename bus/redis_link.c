/* SPDX-License-Identifier: MIT */
#include "bus/redis_link.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "bus/log.h"

#define ARGS_MAX 4
#define READS_MAX 16 /* of 16 KiB, then the other link has its turn */
/* What no reply of Redis to our commands has, and hiredis' reader would wait for without end, or
 * allocate beforehand. */
#define LINE_BYTES_MAX ((size_t)64 << 10)
#define INPUT_BYTES_MAX ((size_t)64 << 20)
#define ELEMENTS_MAX 8

#if HIREDIS_MAJOR == 0
typedef int elements_t;
#else
typedef size_t elements_t;
#endif

static const char *const step_names[HUB__REDIS_STEPS] = {
    [HUB__REDIS_AUTH] = "AUTH",
    [HUB__REDIS_SETNAME] = "CLIENT SETNAME",
    [HUB__REDIS_SELECT] = "SELECT",
    [HUB__REDIS_PING] = "PING",
};

bool hub__redis_link_fail(const hub__redis_link_t *link, hub_error_t *error, const char *what)
{
    hub_error_set(error, HUB_ESYSTEM, 0, "%s: %s", link->use, what);
    return false;
}

/* What hiredis says. */
static bool fail_context(const hub__redis_link_t *link, hub_error_t *error)
{
    return hub__redis_link_fail(
        link, error, link->too_many ? "an answer of too many parts" : link->context->errstr);
}

bool hub__redis_is_error(const redisReply *reply, const char *code)
{
    return reply->type == REDIS_REPLY_ERROR &&
           hub_str_starts_with(hub_str_n(reply->str, (size_t)reply->len), hub_str(code));
}

/* ---- out ---- */

bool hub__redis_link_command(hub__redis_link_t *link, int argc, const hub_str_t *argv,
                             hub_error_t *error)
{
    const char *bases[ARGS_MAX];
    size_t lens[ARGS_MAX];

    for (int i = 0; i < argc; i++) {
        bases[i] = argv[i].base;
        lens[i] = argv[i].len;
    }
    return redisAppendCommandArgv(link->context, argc, bases, lens) == REDIS_OK ||
           fail_context(link, error);
}

size_t hub__redis_link_unsent(const hub__redis_link_t *link)
{
    return sdslen(link->context->obuf);
}

bool hub__redis_link_flush(hub__redis_link_t *link, hub_error_t *error)
{
    if (!link->connected || hub__redis_link_unsent(link) == 0)
        return true;
    return redisBufferWrite(link->context, NULL) == REDIS_OK || fail_context(link, error);
}

/* ---- being let in ---- */

static bool is_wanted(const hub__redis_link_t *link, hub__redis_step_t step)
{
    switch (step) {
    case HUB__REDIS_AUTH:
        return link->options->password != NULL;
    case HUB__REDIS_SELECT:
        return link->options->db != 0;
    default:
        return true;
    }
}

static bool send_step(hub__redis_link_t *link, hub__redis_step_t step, hub_error_t *error)
{
    const hub__redis_options_t *options = link->options;
    hub_str_t argv[ARGS_MAX] = {0};
    char number[16];
    int argc = 0;

    switch (step) {
    case HUB__REDIS_AUTH:
        argv[argc++] = HUB_STR("AUTH");
        if (options->user != NULL)
            argv[argc++] = hub_str(options->user);
        argv[argc++] = hub_str(options->password);
        break;
    case HUB__REDIS_SETNAME:
        argv[argc++] = HUB_STR("CLIENT");
        argv[argc++] = HUB_STR("SETNAME");
        argv[argc++] = hub_str(options->name);
        break;
    case HUB__REDIS_SELECT:
        snprintf(number, sizeof(number), "%u", options->db);
        argv[argc++] = HUB_STR("SELECT");
        argv[argc++] = hub_str(number);
        break;
    default:
        argv[argc++] = HUB_STR("PING");
        break;
    }
    return hub__redis_link_command(link, argc, argv, error);
}

static void skip_unwanted(hub__redis_link_t *link)
{
    while (link->next < HUB__REDIS_STEPS && !is_wanted(link, link->next))
        link->next++;
    link->ready = link->next == HUB__REDIS_STEPS;
}

/* All at once: the answers tell. */
static bool send_greeting(hub__redis_link_t *link, hub_error_t *error)
{
    for (int step = 0; step < HUB__REDIS_STEPS; step++) {
        hub__redis_step_t at = (hub__redis_step_t)step;

        if (is_wanted(link, at) && !send_step(link, at, error))
            return false;
    }
    link->next = HUB__REDIS_AUTH;
    skip_unwanted(link);
    return true;
}

/* Pub/Sub works without a name, without the database, which it has no part in, and for a user who
 * must not ping. */
static bool is_bearable(hub__redis_step_t step, const redisReply *reply)
{
    if (step == HUB__REDIS_AUTH)
        return false;
    return hub__redis_is_error(reply, "NOPERM") ||
           (step != HUB__REDIS_PING && hub__redis_is_error(reply, "ERR "));
}

static void tell_refusal(hub__redis_link_t *link, const char *text)
{
    unsigned bit = 1u << link->next;
    char field[HUB_LOG_FIELD];

    if ((link->told & bit) != 0)
        return;
    link->told |= bit;
    hub_log(link->next == HUB__REDIS_SELECT ? HUB_LOG_ERROR : HUB_LOG_INFO, "bus.refused",
            "backend=redis command=\"%s\" link=%s error=%s", step_names[link->next], link->use,
            hub_log_escape(hub_str(text), field));
}

/* A broker that knows no AUTH repeats its arguments in quotes, with the password among them. */
static void hide_arguments(const hub__redis_link_t *link, char *text)
{
    if (strstr(text, link->options->password) != NULL)
        strcpy(text, "?");
    text[strcspn(text, "'`\"")] = '\0';
}

static bool on_greeting(hub__redis_link_t *link, const redisReply *reply, hub_error_t *error)
{
    char text[160], what[200];

    if (reply->type != REDIS_REPLY_STATUS && reply->type != REDIS_REPLY_ERROR) {
        snprintf(what, sizeof(what), "%s: an answer that is none", step_names[link->next]);
        return hub__redis_link_fail(link, error, what);
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        snprintf(text, sizeof(text), "%s", reply->str);
        if (link->next == HUB__REDIS_AUTH)
            hide_arguments(link, text);
        if (!is_bearable(link->next, reply)) {
            snprintf(what, sizeof(what), "%s: %s", step_names[link->next], text);
            return hub__redis_link_fail(link, error, what);
        }
        tell_refusal(link, text);
    }
    link->next++;
    skip_unwanted(link);
    return true;
}

/* ---- in ---- */

/* hiredis makes room for all that an array is said to have. */
static void *create_array(const redisReadTask *task, elements_t elements)
{
    hub__redis_link_t *link = task->privdata;

    link->too_many = elements > ELEMENTS_MAX;
    return link->too_many ? NULL : link->before->createArray(task, elements);
}

static void limit_arrays(hub__redis_link_t *link)
{
    redisReader *reader = link->context->reader;

    link->before = reader->fn;
    link->functions = *reader->fn;
    link->functions.createArray = create_array;
    link->too_many = false;
    reader->fn = &link->functions;
    reader->privdata = link;
}

/* hiredis reads on until a line ends and a reply is whole, whatever it costs. */
static bool check_unread(const hub__redis_link_t *link, hub_error_t *error)
{
    const redisReader *reader = link->context->reader;
    size_t unread = reader->len - reader->pos;

    if (unread > LINE_BYTES_MAX && memchr(reader->buf + reader->pos, '\r', LINE_BYTES_MAX) == NULL)
        return hub__redis_link_fail(link, error, "a line without an end");
    if (unread > INPUT_BYTES_MAX && unread > link->options->max_message_bytes + LINE_BYTES_MAX)
        return hub__redis_link_fail(link, error, "an answer that is too large");
    return true;
}

static bool take_replies(hub__redis_link_t *link, hub_error_t *error)
{
    for (;;) {
        void *reply = NULL;
        bool good;

        if (redisGetReply(link->context, &reply) != REDIS_OK)
            return fail_context(link, error);
        if (reply == NULL)
            return check_unread(link, error);
        good = link->ready ? link->on_reply(link->user, reply, error)
                           : on_greeting(link, reply, error);
        freeReplyObject(reply);
        if (!good)
            return false;
    }
}

static bool read_some(hub__redis_link_t *link, hub_error_t *error)
{
    const redisReader *reader = link->context->reader;

    for (int i = 0; i < READS_MAX; i++) {
        size_t before = reader->len;

        if (redisBufferRead(link->context) != REDIS_OK)
            return fail_context(link, error);
        if (reader->len == before)
            return true; /* there is no more */
        if (!take_replies(link, error))
            return false;
    }
    return true;
}

/* ---- life ---- */

static bool on_connect(hub__redis_link_t *link, hub_error_t *error)
{
    socklen_t size = sizeof(int);
    int failure = 0;

    if (getsockopt(link->context->fd, SOL_SOCKET, SO_ERROR, &failure, &size) != 0 || failure != 0)
        return hub__redis_link_fail(link, error, strerror(failure));
    link->connected = true;
    return true;
}

bool hub__redis_link_open(hub__redis_link_t *link, const char *address, hub_error_t *error)
{
    const hub__redis_options_t *options = link->options;

    link->context = options->path != NULL ? redisConnectUnixNonBlock(options->path)
                                          : redisConnectNonBlock(address, options->port);
    link->connected = false;
    link->ready = false;
    if (link->context == NULL)
        return hub__redis_link_fail(link, error, "no memory");
    if (link->context->err != 0)
        return fail_context(link, error);
    limit_arrays(link);
    fcntl(link->context->fd, F_SETFD, FD_CLOEXEC); /* hiredis leaves it to programs we start */
    return send_greeting(link, error);
}

void hub__redis_link_close(hub__redis_link_t *link)
{
    redisFree(link->context);
    link->context = NULL;
    link->connected = false;
    link->ready = false;
}

int hub__redis_link_fd(const hub__redis_link_t *link)
{
    return link->context->fd;
}

short hub__redis_link_events(const hub__redis_link_t *link)
{
    if (!link->connected)
        return POLLOUT;
    return hub__redis_link_unsent(link) == 0 ? POLLIN : POLLIN | POLLOUT;
}

bool hub__redis_link_move(hub__redis_link_t *link, short revents, hub_error_t *error)
{
    if (revents == 0)
        return true;
    if (!link->connected && !on_connect(link, error))
        return false;
    if ((revents & (POLLIN | POLLHUP | POLLERR)) != 0 && !read_some(link, error))
        return false;
    return hub__redis_link_flush(link, error);
}
