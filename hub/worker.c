/* SPDX-License-Identifier: MIT */
/* One thread, one loop: the mailbox through which others reach it, the clock, and the end of the
 * turn, where everything that a turn brought about is fanned out and written at once. */
#include "hub/internal.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define TURN_ROUNDS 64  /* filters and proceeding sessions may bring about more of the same */
#define FLUSH_CHECK 16  /* connections written between two looks at the clock */
#define MAIL_BATCH 4096 /* tasks in one turn */
#define COARSE_TICK_MS 10
#define WARN_MS 50 /* on a loop of the program's */
#define SLOT_NONE UINT32_MAX
#define SLOT_BITS 22

/* The address of this is the thread's name. */
static _Thread_local char self;
/* The worker in whose turn this thread is; NULL: in none. */
static _Thread_local hub__worker_t *in_turn;

void hub__worker_settle_here(hub__worker_t *worker)
{
    atomic_store_explicit(&worker->home, &self, memory_order_relaxed);
}

void hub__worker_settle_nowhere(hub__worker_t *worker)
{
    atomic_store_explicit(&worker->home, NULL, memory_order_relaxed);
}

bool hub__worker_is_here(const hub__worker_t *worker)
{
    return atomic_load_explicit(&worker->home, memory_order_relaxed) == &self;
}

uint64_t hub__monotonic_us(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t hub__monotonic_ms(void)
{
    return hub__monotonic_us() / 1000;
}

/* ---- callbacks that block ---- */

/* A fourth of what the exact clock costs. It stands still for a tick, 4 ms or 10, which is little
 * beside what is worth a warning. */
static uint64_t coarse_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void warn(hub__worker_t *worker, uint64_t took_ms, const char *callback, const char *of,
                 hub_str_t name)
{
    char of_text[HUB_LOG_FIELD], name_text[HUB_LOG_FIELD];

    hub_log_peer(HUB_LOG_WARN, "callback.slow", "worker=%u callback=%s of=%s name=%s ms=%llu",
                 worker->index, callback, hub_log_escape(hub_str(of), of_text),
                 hub_log_escape(name, name_text), (unsigned long long)took_ms);
    HUB__STAT(&worker->stats, callbacks_slow_total); /* who sees it finds the line */
}

/* When it began nobody has looked: that was after the last look, at the entry or behind the
 * callback before it, with next to nothing in between. */
void hub__worker_called(hub__worker_t *worker, const char *callback, const char *of, hub_str_t name)
{
    uint64_t now_ms, exact_ms;

    if (worker->warn_ms == HUB_OFF)
        return;
    now_ms = coarse_ms();
    if (now_ms + COARSE_TICK_MS >= worker->called_ms + worker->warn_ms &&
        (exact_ms = hub__monotonic_ms()) >= worker->called_ms + worker->warn_ms) {
        warn(worker, exact_ms - worker->called_ms, callback, of, name);
        now_ms = exact_ms;
        worker->turn_warned = true;
    }
    worker->called_ms = now_ms;
}

/* ---- mailbox ---- */

static void signal_wake(hub__worker_t *worker)
{
    uint64_t one = 1;
    ssize_t wrote;

    do
        wrote = write(worker->wake_fd, &one, sizeof(one));
    while (wrote == -1 && errno == EINTR);
}

/* Who posts in a turn wakes the other when it is about to write, once for all that it has posted:
 * else the other would begin with the first message and find the rest one by one. False: there is
 * no turn, or no memory to note it down. */
static bool wake_later(hub__worker_t *worker)
{
    hub__worker_t *poster = in_turn, **owed;

    if (poster == NULL || poster == worker)
        return false;
    for (unsigned i = 0; i != poster->owed_count; ++i)
        if (poster->owed[i] == worker)
            return true;
    owed = realloc(poster->owed, (poster->owed_count + 1) * sizeof(*owed));
    if (owed == NULL)
        return false;
    poster->owed = owed;
    owed[poster->owed_count++] = hub__worker_retain(worker);
    return true;
}

/* Under the lock: the descriptor is closed under it as well. */
static void wake(hub__worker_t *worker)
{
    if (!worker->mail_signalled && !worker->mail_closed)
        signal_wake(worker);
    worker->mail_signalled = true;
}

void hub__worker_wake(hub__worker_t *worker)
{
    pthread_mutex_lock(&worker->lock);
    wake(worker);
    pthread_mutex_unlock(&worker->lock);
}

static void wake_others(hub__worker_t *poster)
{
    while (poster->owed_count != 0) {
        hub__worker_t *worker = poster->owed[--poster->owed_count];

        pthread_mutex_lock(&worker->lock);
        if (worker->mail_first != NULL)
            wake(worker);
        pthread_mutex_unlock(&worker->lock);
        hub__worker_release(worker);
    }
}

static hub_status_t post(hub_executor_t *executor, hub_task_t *task, bool urgent)
{
    hub__worker_t *worker = (hub__worker_t *)executor;
    hub_status_t err = HUB_OK;

    pthread_mutex_lock(&worker->lock);
    if (worker->mail_closed) {
        err = HUB_ECLOSED;
    } else if (!urgent && worker->mail_count >= worker->mail_limit) {
        err = HUB_ELIMIT;
        __atomic_fetch_add(&worker->stats.mailbox_full_total, 1, __ATOMIC_RELAXED);
    } else {
        task->_next = NULL;
        *worker->mail_last = task;
        worker->mail_last = &task->_next;
        ++worker->mail_count;
        if (!wake_later(worker))
            wake(worker);
    }
    pthread_mutex_unlock(&worker->lock);
    return err;
}

static bool is_current(const hub_executor_t *executor)
{
    return hub__worker_is_here((const hub__worker_t *)executor);
}

static void retain_executor(hub_executor_t *executor)
{
    (void)hub__worker_retain((hub__worker_t *)executor);
}

static void release_executor(hub_executor_t *executor)
{
    hub__worker_release((hub__worker_t *)executor);
}

static void flush_later(hub_executor_t *executor)
{
    hub__worker_t *worker = (hub__worker_t *)executor;

    worker->emits_waiting = true;
    hub__worker_touch(worker);
}

/* A batch at a time, so that a flood from other threads does not keep connections from being
 * written. What is left stays first in line. */
static void run_mail(hub__worker_t *worker)
{
    hub_task_t *task = worker->mail_batch;
    bool was_left = task != NULL;
    size_t run = 0;

    if (!was_left) {
        pthread_mutex_lock(&worker->lock);
        task = worker->mail_first;
        worker->mail_first = NULL;
        worker->mail_last = &worker->mail_first;
        worker->mail_count = 0;
        worker->mail_signalled = false;
        pthread_mutex_unlock(&worker->lock);
    }
    for (; task != NULL && run != MAIL_BATCH; ++run) {
        hub_task_t *next = task->_next;

        task->run(task);
        task = next;
    }
    worker->mail_batch = task;
    if (task == NULL && !was_left)
        return;
    /* this wake-up may have stood for what was posted behind the batch as well */
    pthread_mutex_lock(&worker->lock);
    worker->mail_signalled = task != NULL || worker->mail_first != NULL;
    if (worker->mail_signalled)
        signal_wake(worker);
    pthread_mutex_unlock(&worker->lock);
}

void hub__worker_run_all_mail(hub__worker_t *worker)
{
    bool more = worker->mail_batch != NULL; /* older than what the mailbox holds */

    do
        run_mail(worker);
    while (worker->mail_batch != NULL);
    if (more)
        hub__worker_run_all_mail(worker);
}

bool hub__worker_has_mail(hub__worker_t *worker)
{
    bool has;

    pthread_mutex_lock(&worker->lock);
    has = worker->mail_first != NULL;
    pthread_mutex_unlock(&worker->lock);
    return has || worker->mail_batch != NULL;
}

static void drain_fd(int fd)
{
    uint64_t value;
    ssize_t got;

    do
        got = read(fd, &value, sizeof(value));
    while (got == -1 && errno == EINTR);
}

static void on_wake(h2o_socket_t *socket, const char *err)
{
    hub__worker_t *worker = socket->data;

    (void)err;
    hub__worker_enter(worker);
    drain_fd(worker->wake_fd);
    HUB__STAT(&worker->stats, wakeups_total);
    run_mail(worker);
    hub__worker_leave(worker);
}

/* ---- time ---- */

static void on_timer(h2o_socket_t *socket, const char *err)
{
    hub__worker_t *worker = socket->data;

    (void)err;
    hub__worker_enter(worker);
    drain_fd(worker->timer_fd);
    worker->armed_for = UINT64_MAX;
    hub__wheel_run(worker->wheel, worker->now_ms);
    hub__worker_leave(worker);
}

static void arm_timer(hub__worker_t *worker)
{
    uint64_t next = hub__wheel_next(worker->wheel);
    struct itimerspec at = {0};

    /* a later time than the one that is set costs nothing: it fires early and finds out */
    if (next >= worker->armed_for)
        return;
    at.it_value.tv_sec = (time_t)(next / 1000);
    at.it_value.tv_nsec = (long)(next % 1000) * 1000000;
    if (next == 0)
        at.it_value.tv_nsec = 1;
    if (timerfd_settime(worker->timer_fd, TFD_TIMER_ABSTIME, &at, NULL) == 0)
        worker->armed_for = next;
}

/* ---- life ---- */

static h2o_socket_t *watch(hub__worker_t *worker, int fd, h2o_socket_cb on_ready)
{
    h2o_socket_t *socket = h2o_evloop_socket_create(worker->loop, fd, H2O_SOCKET_FLAG_DONT_READ);

    socket->data = worker;
    h2o_socket_read_start(socket, on_ready);
    return socket;
}

hub__worker_t *hub__worker_create(unsigned index, h2o_loop_t *loop, size_t mail_limit,
                                  size_t turn_us)
{
    hub__worker_t *worker = hub__alloc_zeroed(sizeof(*worker));

    worker->executor = (hub_executor_t){.post = post,
                                        .is_current = is_current,
                                        .flush_later = flush_later,
                                        .retain = retain_executor,
                                        .release = release_executor};
    worker->index = index;
    worker->loop = loop;
    worker->mail_limit = mail_limit;
    worker->turn_us = turn_us;
    worker->warn_ms = WARN_MS;
    worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    worker->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (worker->wake_fd == -1 || worker->timer_fd == -1) {
        hub_log(HUB_LOG_ERROR, "worker.create", "worker=%u error=\"%s\"", index, strerror(errno));
        if (worker->wake_fd != -1)
            close(worker->wake_fd);
        if (worker->timer_fd != -1)
            close(worker->timer_fd);
        free(worker);
        return NULL;
    }
    pthread_mutex_init(&worker->lock, NULL);
    atomic_init(&worker->refs, 1);
    worker->mail_last = &worker->mail_first;
    worker->dirty_last = &worker->dirty_first;
    worker->slot_free = SLOT_NONE;
    worker->armed_for = UINT64_MAX;
    worker->now_ms = hub__monotonic_ms();
    worker->wheel = hub__wheel_create(worker->now_ms);
    worker->match_scratch = hub__match_scratch_create();
    worker->read_buffer = hub__alloc(HUB__READ_BUFFER);
    randombytes_buf(&worker->next_request, sizeof(worker->next_request));
    hub__worker_settle_here(worker);
    worker->wake_socket = watch(worker, worker->wake_fd, on_wake);
    worker->timer_socket = watch(worker, worker->timer_fd, on_timer);
    return worker;
}

static void discard_mail(hub_task_t *task)
{
    while (task != NULL) {
        hub_task_t *next = task->_next;

        task->discard(task);
        task = next;
    }
}

void hub__worker_end_mail(hub__worker_t *worker)
{
    hub_task_t *task;

    pthread_mutex_lock(&worker->lock);
    worker->mail_closed = true;
    task = worker->mail_first;
    worker->mail_first = NULL;
    worker->mail_last = &worker->mail_first;
    pthread_mutex_unlock(&worker->lock);
    discard_mail(worker->mail_batch);
    worker->mail_batch = NULL;
    discard_mail(task);
}

void hub__worker_close(hub__worker_t *worker)
{
    assert(worker->conn_count == 0);
    hub__worker_end_mail(worker);
    h2o_socket_close(worker->wake_socket);
    h2o_socket_close(worker->timer_socket);
    hub__run_release(worker->run);
    hub__wheel_destroy(worker->wheel);
    hub__match_scratch_destroy(worker->match_scratch);
    hub__table_dispose(&worker->topics);
    hub__table_dispose(&worker->identities);
    hub__table_dispose(&worker->requests);
    hub__table_dispose(&worker->parked);
    free(worker->slots);
    worker->slots = NULL;
    free(worker->flushing.conns);
    free(worker->due.conns);
    worker->flushing = worker->due = (hub__line_t){0};
    free(worker->read_buffer);
    worker->read_buffer = NULL;
    hub__compression_dispose(worker);
    free(worker->tls_io);
    worker->tls_io = NULL;
    hub__worker_settle_nowhere(worker);
}

hub__worker_t *hub__worker_retain(hub__worker_t *worker)
{
    atomic_fetch_add_explicit(&worker->refs, 1, memory_order_relaxed);
    return worker;
}

void hub__worker_release(hub__worker_t *worker)
{
    if (worker == NULL || atomic_fetch_sub_explicit(&worker->refs, 1, memory_order_acq_rel) != 1)
        return;
    hub__presence_destroy_all(worker);
    free(worker->owed);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}

bool hub__worker_has_bus(const hub__worker_t *worker, const hub_bus_t *bus)
{
    const hub__attached_t *attached = worker->hubs;

    while (attached != NULL && attached->hub->bus != bus)
        attached = attached->next;
    return attached != NULL;
}

hub_status_t hub__worker_attach(hub__worker_t *worker, hub_t *hub)
{
    hub__attached_t *attached;
    hub_status_t err;

    for (attached = worker->hubs; attached != NULL; attached = attached->next)
        if (attached->hub == hub) {
            ++attached->endpoints;
            return HUB_OK;
        }
    if ((err = hub__worker_join(hub, worker)) != HUB_OK)
        return err;
    attached = hub__alloc_zeroed(sizeof(*attached));
    *attached =
        (hub__attached_t){.next = worker->hubs, .hub = hub, .endpoints = 1, .worker = worker};
    if ((err = hub__relay_open(attached)) != HUB_OK) {
        free(attached);
        hub__worker_leave_hub(hub, worker);
        return err;
    }
    worker->hubs = attached;
    return HUB_OK;
}

void hub__worker_detach(hub__worker_t *worker, hub_t *hub)
{
    for (hub__attached_t **link = &worker->hubs; *link != NULL; link = &(*link)->next) {
        hub__attached_t *attached = *link;

        if (attached->hub != hub)
            continue;
        if (--attached->endpoints != 0)
            return;
        *link = attached->next;
        hub__relay_close(attached);
        free(attached);
        hub__presence_close(worker, hub);
        hub__worker_leave_hub(hub, worker);
        return;
    }
}

/* ---- connections in line ---- */

static uint32_t line_len(const hub__line_t *line)
{
    return line->end - line->head;
}

static hub_conn_t *line_next(hub__line_t *line)
{
    hub_conn_t *conn = line->conns[line->head++];

    if (line->head == line->end)
        line->head = line->end = 0;
    return conn;
}

void hub__worker_line_up(hub__worker_t *worker, hub__line_t *line, hub_conn_t *conn)
{
    if (line->end == worker->line_capacity) {
        memmove(line->conns, line->conns + line->head, line_len(line) * sizeof(*line->conns));
        line->end -= line->head;
        line->head = 0;
    }
    assert(line->end < worker->line_capacity);
    line->conns[line->end++] = conn;
}

/* Only those in line move: what is never used is never touched. */
static bool line_widen(hub__line_t *line, uint32_t capacity)
{
    hub_conn_t **conns = malloc(capacity * sizeof(*conns));

    if (conns == NULL)
        return false;
    if (line_len(line) != 0)
        memcpy(conns, line->conns + line->head, line_len(line) * sizeof(*conns));
    free(line->conns);
    *line = (hub__line_t){.conns = conns, .end = line_len(line)};
    return true;
}

bool hub__worker_conn_made(hub__worker_t *worker)
{
    if (worker->conns_made == worker->line_capacity) {
        uint32_t capacity = worker->line_capacity == 0 ? 64 : worker->line_capacity * 2;

        if (!line_widen(&worker->flushing, capacity) || !line_widen(&worker->due, capacity))
            return false;
        worker->line_capacity = capacity;
    }
    ++worker->conns_made;
    return true;
}

void hub__worker_conn_freed(hub__worker_t *worker)
{
    --worker->conns_made;
}

/* ---- connections by id ---- */

uint64_t hub__worker_local(const hub__worker_t *worker, uint32_t slot)
{
    return (uint64_t)(worker->index + 1) << (32 + SLOT_BITS) | (uint64_t)slot << 32 |
           worker->slots[slot].generation;
}

/* Only slots that were in use are on the free list, so growing touches no memory ahead of need. */
hub_status_t hub__worker_slot_take(hub__worker_t *worker, hub_conn_t *conn, uint32_t *ret_slot)
{
    uint32_t slot = worker->slot_free;

    if (slot != SLOT_NONE) {
        worker->slot_free = worker->slots[slot].next_free;
    } else {
        if (worker->slot_count == worker->slot_capacity) {
            uint32_t capacity = worker->slot_capacity == 0 ? 64 : worker->slot_capacity * 2;
            hub__slot_t *slots;

            if (capacity > 1u << SLOT_BITS)
                return HUB_ELIMIT;
            if ((slots = realloc(worker->slots, capacity * sizeof(*slots))) == NULL)
                return HUB_ENOMEM;
            worker->slots = slots;
            worker->slot_capacity = capacity;
        }
        slot = worker->slot_count++;
    }
    worker->slots[slot] =
        (hub__slot_t){.conn = conn, .generation = ++worker->generation, .ready_fd = -1};
    ++worker->conn_count;
    *ret_slot = slot;
    return HUB_OK;
}

void hub__worker_slot_free(hub__worker_t *worker, uint32_t slot)
{
    assert(slot < worker->slot_count && worker->slots[slot].conn != NULL);
    worker->slots[slot].conn = NULL;
    worker->slots[slot].next_free = worker->slot_free;
    worker->slot_free = slot;
    --worker->conn_count;
}

hub_conn_t *hub__worker_conn(hub__worker_t *worker, uint64_t local)
{
    uint32_t slot = (uint32_t)(local >> 32) & ((1u << SLOT_BITS) - 1);

    if (slot >= worker->slot_count || worker->slots[slot].conn == NULL ||
        hub__worker_local(worker, slot) != local)
        return NULL;
    return worker->slots[slot].conn;
}

/* ---- the turn ---- */

hub__run_t *hub__worker_run(hub__worker_t *worker)
{
    if (worker->run != NULL && worker->run->len >= HUB__RUN_SEAL) {
        hub__run_release(worker->run);
        worker->run = NULL;
    }
    if (worker->run == NULL)
        worker->run = hub__run_create(512);
    return worker->run;
}

/* An open run that everybody is done with is written from its start again. */
static void seal_run(hub__worker_t *worker)
{
    hub__run_t *run = worker->run;

    if (run == NULL || run->len == 0)
        return;
    if (run->refs == 1 && run->capacity <= HUB__RUN_SEAL) {
        run->len = 0;
        run->messages = 0;
        run->queued_ms = 0;
        return;
    }
    hub__run_release(run);
    worker->run = NULL;
}

void hub__worker_enter(hub__worker_t *worker)
{
    uint64_t now_us;

    if (worker->depth++ != 0)
        return;
    in_turn = worker;
    now_us = hub__monotonic_us();
    worker->now_ms = worker->called_ms = now_us / 1000;
    if (worker->turn_began_us == 0)
        worker->turn_began_us = now_us;
}

void hub__worker_leave(hub__worker_t *worker)
{
    assert(worker->depth != 0);
    if (--worker->depth != 0 || !worker->mounted)
        return;
    hub__worker_end_turn(worker);
    if (worker->stopped)
        hub__h2o_worker_gone(worker);
}

void hub__worker_touch(hub__worker_t *worker)
{
    if (worker->mounted && worker->depth == 0)
        hub__worker_wake(worker);
}

static void proceed_due(hub__worker_t *worker)
{
    /* those that come meanwhile have the next round */
    for (uint32_t left = line_len(&worker->due); left != 0; --left) {
        hub_conn_t *conn = line_next(&worker->due);

        conn->due = false;
        if (conn->destroyed)
            hub__conn_destroy(conn);
        else
            hub__conn_proceed(conn);
    }
}

void hub__worker_flush_emits(hub__worker_t *worker)
{
    if (!worker->emits_waiting)
        return;
    worker->emits_waiting = false;
    for (hub__attached_t *attached = worker->hubs; attached != NULL; attached = attached->next)
        hub_bus_flush(attached->hub->bus, &worker->executor);
}

bool hub__worker_may_write(hub__worker_t *worker)
{
    uint64_t now;

    if (worker->write_over)
        return false;
    if (++worker->written % FLUSH_CHECK != 0)
        return true;
    now = hub__monotonic_us();
    if (worker->write_until_us == 0)
        worker->write_until_us = now + worker->turn_us;
    else if (now >= worker->write_until_us)
        worker->write_over = true;
    return !worker->write_over;
}

/* Writes connection after connection until the time is up; the rest stays first in line. */
static void flush_conns(hub__worker_t *worker)
{
    while (line_len(&worker->flushing) != 0 && hub__worker_may_write(worker))
        hub__conn_flush(line_next(&worker->flushing));
    if ((worker->behind = line_len(&worker->flushing) != 0))
        HUB__STAT(&worker->stats, flush_deferred_total);
    worker->written = 0;
    worker->write_until_us = 0;
    worker->write_over = false;
}

/* Many callbacks together, one that nobody times (on_published, on_fetch, on_key, on_free), or work
 * of our own: worth a line, unless one has said already who it was. */
static void note_slow_turn(hub__worker_t *worker, uint64_t took_ms)
{
    if (!worker->turn_warned)
        hub_log_peer(HUB_LOG_WARN, "turn.slow", "worker=%u ms=%llu", worker->index,
                     (unsigned long long)took_ms);
    HUB__STAT(&worker->stats, turns_slow_total);
}

/* From the first callback of the loop to the end of the turn. */
static void measure_turn(hub__worker_t *worker)
{
    uint64_t took_us = hub__monotonic_us() - worker->turn_began_us;

    worker->turn_began_us = 0;
    if (took_us > worker->stats.turn_max_us)
        __atomic_store_n(&worker->stats.turn_max_us, took_us, __ATOMIC_RELAXED);
    if (worker->warn_ms != HUB_OFF && took_us >= worker->warn_ms * 1000)
        note_slow_turn(worker, took_us / 1000);
    worker->turn_warned = false;
}

void hub__worker_end_turn(hub__worker_t *worker)
{
    if (worker->in_turn_end)
        return;
    worker->in_turn_end = true;
    hub__worker_enter(worker);
    HUB__STAT(&worker->stats, turns_total);
    worker->presence_late = false;
    worker->presence_until_us = 0;
    for (unsigned round = 0; round != TURN_ROUNDS; ++round) {
        proceed_due(worker);
        hub__worker_flush_emits(worker);
        hub__presence_settle(worker);
        hub__fanout_settle(worker);
        if (line_len(&worker->due) == 0 && !worker->emits_waiting &&
            (!worker->presence_due || worker->presence_late) && worker->dirty_first == NULL)
            break;
    }
    wake_others(worker);
    flush_conns(worker);
    seal_run(worker);
    hub__worker_watch_memory(worker);
    arm_timer(worker);
    hub__worker_check_stopped(worker);
    wake_others(worker); /* writing may end connections, and a stop all of them */
    measure_turn(worker);
    worker->in_turn_end = false;
    --worker->depth; /* not leave(): this is the end of the turn already */
    in_turn = NULL;
    if (hub__worker_has_more(worker))
        hub__worker_touch(worker);
}
