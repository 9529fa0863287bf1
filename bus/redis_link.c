/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE 1 /* memmem */
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
#define ELEMENTS_MAX 3 /* as a message has */

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
    return hub__redis_link_fail(link, error,
                                link->refused != NULL ? link->refused : link->context->errstr);
}

bool hub__redis_is_error(const redisReply *reply, const char *code)
{
    return reply->type == REDIS_REPLY_ERROR &&
           hub_str_starts_with(hub_str_n(reply->str, (size_t)reply->len), hub_str(code));
}

/* A broker that knows no AUTH repeats its arguments, and Redis cuts them: so they are left out
 * whole, and the password wherever else it stands. */
const char *hub__redis_link_quote(const hub__redis_link_t *link, const redisReply *reply,
                                  char text[HUB__REDIS_QUOTE])
{
    static const char stars[] = "***";
    const char *from = reply->str, *secret = link->options->password;
    size_t size = secret == NULL ? 0 : strlen(secret), len = 0;
    char *arguments;

    while (*from != '\0' && len + sizeof(stars) <= HUB__REDIS_QUOTE) {
        if (size == 0 || strncmp(from, secret, size) != 0) {
            text[len++] = *from++;
            continue;
        }
        memcpy(text + len, stars, sizeof(stars) - 1);
        len += sizeof(stars) - 1;
        from += size;
    }
    text[len] = '\0';
    if ((arguments = strstr(text, ", with args")) != NULL)
        *arguments = '\0';
    return text;
}

bool hub__redis_link_fail_quoting(const hub__redis_link_t *link, hub_error_t *error,
                                  const redisReply *reply)
{
    char text[HUB__REDIS_QUOTE];

    return hub__redis_link_fail(link, error, hub__redis_link_quote(link, reply, text));
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
 * must not ping; and while a Redis reads its data or can't write it, which PING is not answered
 * for. */
static bool is_bearable(hub__redis_step_t step, const redisReply *reply)
{
    if (step == HUB__REDIS_AUTH)
        return false;
    if (step == HUB__REDIS_PING)
        return hub__redis_is_error(reply, "NOPERM") || hub__redis_is_error(reply, "LOADING") ||
               hub__redis_is_error(reply, "MISCONF");
    return hub__redis_is_error(reply, "NOPERM") ||
           (hub__redis_is_error(reply, "ERR ") &&
            !hub__redis_is_error(reply, "ERR max number of clients"));
}

static void tell_refusal(hub__redis_link_t *link, const char *text)
{
    unsigned bit = 1u << link->next;
    char address[HUB_LOG_FIELD], field[HUB_LOG_FIELD];

    if ((link->told & bit) != 0)
        return;
    link->told |= bit;
    hub_log_escape(hub_str(link->options->address), address);
    hub_log(link->next == HUB__REDIS_SELECT ? HUB_LOG_ERROR : HUB_LOG_INFO, "bus.refused",
            "backend=redis address=%s command=\"%s\" link=%s error=%s", address,
            step_names[link->next], link->use, hub_log_escape(hub_str(text), field));
}

static bool on_greeting(hub__redis_link_t *link, const redisReply *reply, hub_error_t *error)
{
    char text[HUB__REDIS_QUOTE], what[HUB__REDIS_QUOTE + 32];

    if (reply->type != REDIS_REPLY_STATUS && reply->type != REDIS_REPLY_ERROR) {
        snprintf(what, sizeof(what), "%s: an answer that is none", step_names[link->next]);
        return hub__redis_link_fail(link, error, what);
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        hub__redis_link_quote(link, reply, text);
        if (link->next == HUB__REDIS_AUTH)
            text[strcspn(text, "'`\"")] = '\0'; /* behind it may be a part of the password */
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

/* hiredis makes room for all that an array is said to have, and reads what lies within another
 * without end. */
static void *create_array(const redisReadTask *task, elements_t elements)
{
    hub__redis_link_t *link = task->privdata;

    if (elements <= ELEMENTS_MAX && task->parent == NULL)
        return link->before->createArray(task, elements);
    link->refused = "an answer of too many parts";
    return NULL;
}

static size_t answer_bytes_max(const hub__redis_link_t *link)
{
    size_t bytes = link->options->max_message_bytes;

    return (bytes > INPUT_BYTES_MAX ? bytes : INPUT_BYTES_MAX) + LINE_BYTES_MAX;
}

static void *create_string(const redisReadTask *task, char *bytes, size_t size)
{
    hub__redis_link_t *link = task->privdata;

    link->answer_bytes += size;
    if (link->answer_bytes <= answer_bytes_max(link))
        return link->before->createString(task, bytes, size);
    link->refused = "an answer that is too large";
    return NULL;
}

static void limit_answers(hub__redis_link_t *link)
{
    redisReader *reader = link->context->reader;

    link->before = reader->fn;
    link->functions = *reader->fn;
    link->functions.createArray = create_array;
    link->functions.createString = create_string;
    link->refused = NULL;
    link->answer_bytes = 0;
    reader->fn = &link->functions;
    reader->privdata = link;
}

/* hiredis reads on until a line ends and a reply is whole, whatever it costs. */
static bool check_unread(const hub__redis_link_t *link, hub_error_t *error)
{
    const redisReader *reader = link->context->reader;
    size_t unread = reader->len - reader->pos;

    if (unread > LINE_BYTES_MAX &&
        memmem(reader->buf + reader->pos, LINE_BYTES_MAX, "\r\n", 2) == NULL)
        return hub__redis_link_fail(link, error, "a line without an end");
    if (unread > answer_bytes_max(link))
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
        link->answer_bytes = 0;
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
    limit_answers(link);
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
