/* SPDX-License-Identifier: MIT */
/* Presence in the world: the trackers of a worker, one for each hub that has need of it, on the
 * bus, the clock and the fan-out.
 *
 * The topics on which trackers talk have a control character in them, which no topic of a client's
 * can have. */
#define _GNU_SOURCE 1 /* memmem */
#include "hub/presence.h"

#include <sodium.h>
#include <stdlib.h>
#include <time.h>

#include "hub/internal.h"
#include "hub/tracker.h"

#define BUS_TOPIC "presence\x1f"
#define BUS_TOPIC_MAX 1024 /* that of the bus */
#define FRAMES_MAX 8       /* of one state, that differ in their join_ref */
#define FRAGMENTS_FROM 2048
#define PLACE "{\"\":0}" /* of the payload; no string has its quotes */

struct hub__presence {
    hub__presence_t *next; /* of the worker */
    hub__worker_t *worker;
    hub_t *hub;
    hub__tracker_t *tracker;
    hub_bus_sub_t *beats;
    hub__buffer_t topic; /* scratch */
    hub__buffer_t list;
    bool due;
    bool closed; /* its hub has left the worker: answers may still be on their way */
};

/* A member that tracks, or waits for the state. */
struct hub__member_presence {
    hub__attendance_t attendance; /* first */
    hub_member_t *member;
    bool wants_state; /* once it has joined */
};

static hub__presence_t *presence_of(const hub__tracker_t *tracker)
{
    return tracker->user;
}

/* ---- on the bus ---- */

/* A name for a topic whose own does not fit; behind one more of those, where no topic has it. */
static void append_digest(hub__buffer_t *out, hub_str_t topic)
{
    unsigned char digest[crypto_generichash_BYTES];
    char text[2 * sizeof(digest) + 1];

    crypto_generichash(digest, sizeof(digest), (const unsigned char *)topic.base, topic.len, NULL,
                       0);
    sodium_bin2hex(text, sizeof(text), digest, sizeof(digest));
    HUB__APPEND_LITERAL(out, "\x1f");
    hub__buffer_append(out, hub_str(text));
}

static hub_str_t bus_topic(hub__presence_t *presence, const hub__venue_t *venue)
{
    hub__buffer_t *topic = &presence->topic;
    hub_str_t name = venue != NULL ? hub__venue_topic(venue) : (hub_str_t){0};

    topic->len = 0;
    hub__buffer_append(topic, presence->hub->bus_prefix);
    HUB__APPEND_LITERAL(topic, BUS_TOPIC);
    if (topic->len + name.len <= BUS_TOPIC_MAX)
        hub__buffer_append(topic, name);
    else
        append_digest(topic, name);
    return hub__buffer_str(topic);
}

static void on_answered(const hub_publish_result_t *result, void *query)
{
    hub__query_answered(query, result->status == HUB_OK);
}

static hub_status_t io_publish(hub__tracker_t *tracker, hub__venue_t *venue,
                               hub__replica_kind_t kind, hub_str_t payload, hub__query_t *query)
{
    hub__presence_t *presence = presence_of(tracker);
    hub_message_options_t options = {.origin = {.node = tracker->owner}, .payload_is_valid = true};
    hub_bus_publish_options_t completion = {
        .on_published = on_answered, .user = query, .executor = &presence->worker->executor};
    hub_message_t *msg;
    hub_status_t err = hub_message_create(bus_topic(presence, venue), hub__replica_event(kind),
                                          hub_json(payload), &options, &msg, NULL);

    if (err != HUB_OK)
        return err;
    err = hub_bus_publish(presence->hub->bus, msg, query != NULL ? &completion : NULL);
    hub_message_release(msg);
    if (err != HUB_OK && err != HUB_EBUSDOWN) /* that one is in the log, and this is tried again */
        hub_log_peer(HUB_LOG_WARN, "presence.publish", "kind=%s status=%s",
                     hub__replica_event(kind).base, hub_status_name(err));
    return err;
}

static void receive(hub__tracker_t *tracker, hub__venue_t *venue, const hub_message_t *msg,
                    hub_bus_ack_t *ack)
{
    hub_str_t payload = msg->payload.kind == HUB_PAYLOAD_JSON ? msg->payload.bytes : (hub_str_t){0};

    hub__tracker_receive(tracker, venue, msg->origin.node, msg->event, payload, ack);
}

static hub_status_t on_message(hub_bus_sub_t *sub, const hub_message_t *msg, hub_bus_ack_t *ack,
                               void *user)
{
    hub__venue_t *venue = user;

    (void)sub;
    receive(venue->tracker, venue, msg, ack);
    return HUB_OK;
}

static void on_gap(hub_bus_sub_t *sub, hub_gap_reason_t reason, uint64_t missed, void *user)
{
    (void)sub, (void)reason, (void)missed;
    hub__tracker_gap(user);
}

/* Not from within the subscribing: then there was nothing to miss. */
static void on_venue_ready(hub_bus_sub_t *sub, void *user)
{
    hub__venue_t *venue = user;

    if (venue->sub == sub)
        hub__tracker_ready(venue);
}

static void on_venue_close(hub_bus_sub_t *sub, hub_status_t why, void *user)
{
    (void)sub, (void)why;
    ((hub__venue_t *)user)->sub = NULL;
}

/* Workers of a server that stops leave together: their members see nobody go. Whoever does not
 * leave is heard, or those who stay until the end would see it fall silent. */
static bool is_heeded(const hub__presence_t *presence, const hub_message_t *msg)
{
    const hub_server_t *server = presence->worker->server;

    return server == NULL || !hub__server_is_stopping(server) ||
           hub__replica_kind(msg->event) != HUB__REPLICA_BYE;
}

static hub_status_t on_beat_message(hub_bus_sub_t *sub, const hub_message_t *msg,
                                    hub_bus_ack_t *ack, void *user)
{
    hub__presence_t *presence = user;

    (void)sub;
    if (is_heeded(presence, msg))
        receive(presence->tracker, NULL, msg, ack);
    return HUB_OK;
}

static void on_beats_close(hub_bus_sub_t *sub, hub_status_t why, void *user)
{
    (void)sub, (void)why;
    ((hub__presence_t *)user)->beats = NULL;
}

static hub_status_t io_subscribe(hub__tracker_t *tracker, hub__venue_t *venue)
{
    hub__presence_t *presence = presence_of(tracker);
    hub_bus_sub_options_t options = {
        .on_message = venue != NULL ? on_message : on_beat_message,
        .on_gap = venue != NULL ? on_gap : NULL,
        .on_close = venue != NULL ? on_venue_close : on_beats_close,
        .executor = &presence->worker->executor,
        .user = venue != NULL ? (void *)venue : presence,
        .on_ready = venue != NULL ? on_venue_ready : NULL,
    };
    hub_bus_sub_t *sub;
    hub_status_t err =
        hub_bus_subscribe(presence->hub->bus, bus_topic(presence, venue), &options, &sub);

    if (err == HUB_OK && venue != NULL)
        venue->sub = sub;
    else if (err == HUB_OK)
        presence->beats = sub;
    return err;
}

static void io_unsubscribe(hub__tracker_t *tracker, hub__venue_t *venue)
{
    hub__presence_t *presence = presence_of(tracker);

    hub_bus_unsubscribe(venue != NULL ? venue->sub : presence->beats);
    if (venue != NULL)
        venue->sub = NULL;
    else
        presence->beats = NULL;
}

static bool io_hears(hub__tracker_t *tracker)
{
    return hub_bus_is_healthy(presence_of(tracker)->hub->bus);
}

static void *io_retain_ack(void *ack)
{
    return hub_bus_ack_retain(ack);
}

static void io_release_ack(void *ack)
{
    hub_bus_ack_release(ack);
}

/* ---- to members ---- */

static void io_tell(hub__tracker_t *tracker, hub__venue_t *venue, hub_str_t event,
                    hub_str_t payload)
{
    hub__presence_t *presence = presence_of(tracker);

    hub__fanout_tell(presence->worker, presence->hub, hub__venue_topic(venue), event, payload);
}

/* The frames of one state: clients that have just connected join with the same few refs. What
 * others get of a large one is a message in three fragments (RFC 6455, 5.4), of which all share the
 * second.
 */
typedef struct hub__state_frames {
    hub_str_t payload;
    hub__run_t *body;
    hub__buffer_t edges;
    size_t count;
    struct {
        hub__run_t *run;
        const hub__dialect_t *dialect;
        hub_member_t *member; /* whose join_ref it has */
    } rows[FRAMES_MAX];
} hub__state_frames_t;

static hub__outgoing_t state_of(hub_member_t *member, hub_str_t payload)
{
    return (hub__outgoing_t){
        .kind = HUB__OUT_PUSH,
        .topic = hub__member_name(member),
        .event = HUB_STR("presence_state"),
        .join_ref = hub__member_sent_join_ref(member),
        .payload = hub_json(payload),
    };
}

/* NULL: one of its own is needed. */
static hub__run_t *shared_frame(hub__state_frames_t *frames, hub_member_t *member)
{
    const hub__dialect_t *dialect = member->session->dialect;
    hub__outgoing_t out = state_of(member, frames->payload);
    hub__run_t *run;

    for (size_t i = 0; i != frames->count; ++i)
        if (frames->rows[i].dialect == dialect &&
            hub_str_equals(hub__member_sent_join_ref(frames->rows[i].member), out.join_ref))
            return frames->rows[i].run;
    if (frames->count == FRAMES_MAX || (run = hub__run_create(512)) == NULL)
        return NULL;
    if (hub__run_encode(run, dialect, &out) != HUB_OK) {
        hub__run_release(run);
        return NULL;
    }
    frames->rows[frames->count].run = run;
    frames->rows[frames->count].dialect = dialect;
    frames->rows[frames->count++].member = member;
    return run;
}

/* The first fragment and the last, `ret_first_len` of it is the first; NULL: it can't be done. */
static hub__run_t *create_edges(hub__state_frames_t *frames, hub_member_t *member,
                                uint32_t *ret_first_len)
{
    const hub__dialect_t *dialect = member->session->dialect;
    hub__outgoing_t out = state_of(member, HUB_STR(PLACE));
    hub_str_t text;
    hub__run_t *run;
    bool binary;
    size_t at;

    if (hub__buffer_try_reserve(&frames->edges, dialect->encode_bound(&out)) == NULL)
        return NULL;
    text = hub_str_n(frames->edges.base, dialect->encode(&out, frames->edges.base, &binary));
    if (text.len == 0 || binary || (run = hub__run_create(text.len + 32)) == NULL)
        return NULL;
    at = (size_t)((char *)memmem(text.base, text.len, PLACE, sizeof(PLACE) - 1) - text.base);
    if (hub__run_append(run, HUB__OP_TEXT, hub_str_n(text.base, at)) == HUB_OK) {
        *ret_first_len = run->len;
        at += sizeof(PLACE) - 1;
        if (hub__run_append(run, HUB__FRAME_FIN | HUB__OP_CONTINUATION,
                            hub_str_n(text.base + at, text.len - at)) == HUB_OK)
            return run;
    }
    hub__run_release(run);
    return NULL;
}

static bool send_fragments(hub__state_frames_t *frames, hub_member_t *member)
{
    hub__run_t *edges;
    uint32_t first_len;
    bool sent;

    if (frames->payload.len < FRAGMENTS_FROM)
        return false;
    if (frames->body == NULL &&
        ((frames->body = hub__run_create(frames->payload.len + HUB__FRAME_HEADER_MAX)) == NULL ||
         hub__run_append(frames->body, HUB__OP_CONTINUATION, frames->payload) != HUB_OK))
        return false;
    if (frames->body->len == 0 || (edges = create_edges(frames, member, &first_len)) == NULL)
        return false;
    sent = hub__conn_place_fragments((hub_conn_t *)member->session, member, edges, first_len,
                                     frames->body);
    hub__run_release(edges);
    return sent;
}

static void send_state(hub__state_frames_t *frames, hub_member_t *member)
{
    hub_conn_t *conn = (hub_conn_t *)member->session;
    bool noted = hub__wants_notes(hub__conn_seat(conn)->endpoint->hub);
    hub__run_t *run = noted ? NULL : shared_frame(frames, member);
    hub__outgoing_t out;

    if (run != NULL) {
        (void)hub__conn_place(conn, member, run, 0, run->len, HUB__KEY_FIXED);
        return;
    }
    if (!noted && send_fragments(frames, member))
        return;
    out = state_of(member, frames->payload);
    (void)hub__conn_session_io.send(member->session, member, &out);
}

static void io_tell_state(hub__tracker_t *tracker, hub__venue_t *venue, hub_str_t payload)
{
    hub__state_frames_t frames = {.payload = payload};
    hub__attendance_t *wishes = venue->wishes;

    (void)tracker;
    /* a hook of a message that could not be sent may wish again: for the next time */
    venue->wishes = NULL;
    if (wishes != NULL)
        wishes->prev = &wishes;
    while (wishes != NULL) {
        hub__attendance_t *attendance = wishes;

        hub__attendance_unwish(attendance);
        send_state(&frames, ((hub__member_presence_t *)attendance)->member);
    }
    for (size_t i = 0; i != frames.count; ++i)
        hub__run_release(frames.rows[i].run);
    hub__run_release(frames.body);
    hub__buffer_dispose(&frames.edges);
}

/* ---- time ---- */

static void io_schedule(hub__tracker_t *tracker)
{
    hub__presence_t *presence = presence_of(tracker);

    presence->due = true;
    presence->worker->presence_due = true;
    hub__worker_touch(presence->worker);
}

static bool io_is_late(hub__tracker_t *tracker)
{
    hub__worker_t *worker = presence_of(tracker)->worker;

    worker->presence_late = hub__monotonic_us() >= worker->presence_until_us;
    return worker->presence_late;
}

static void io_timer_arm(hub__tracker_t *tracker, hub__timer_t *timer, uint64_t due_ms)
{
    hub__timer_arm(presence_of(tracker)->worker->wheel, timer, due_ms);
}

static void io_timer_disarm(hub__tracker_t *tracker, hub__timer_t *timer)
{
    hub__timer_disarm(presence_of(tracker)->worker->wheel, timer);
}

/* Only tells which is older. */
static uint64_t io_wall_us(hub__tracker_t *tracker)
{
    struct timespec now;

    (void)tracker;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static const hub__tracker_io_t tracker_io = {
    .publish = io_publish,
    .subscribe = io_subscribe,
    .unsubscribe = io_unsubscribe,
    .hears = io_hears,
    .tell = io_tell,
    .tell_state = io_tell_state,
    .schedule = io_schedule,
    .is_late = io_is_late,
    .timer_arm = io_timer_arm,
    .timer_disarm = io_timer_disarm,
    .wall_us = io_wall_us,
    .retain_ack = io_retain_ack,
    .release_ack = io_release_ack,
};

/* ---- of a worker ---- */

static hub__tracker_t *create_tracker(hub__presence_t *presence)
{
    hub__worker_t *worker = presence->worker;
    hub_t *hub = presence->hub;
    hub__tracker_options_t options = {
        .io = &tracker_io,
        .user = presence,
        .now_ms = &worker->now_ms,
        .stats = &worker->stats,
        .beat_ms = hub->presence_beat_ms,
        .largest_bytes = hub_bus_largest_message(hub->bus),
        .remote = !hub->owns_bus,
        /* one worker, and a bus that nobody else can reach */
        .alone =
            hub->owns_bus && worker->server != NULL && hub__server_threads(worker->server) == 1,
    };

    do {
        randombytes_buf(&options.owner, sizeof(options.owner));
        options.owner &= HUB__PRESENCE_NUMBER_MAX;
    } while (options.owner == 0);
    return hub__tracker_create(&options);
}

static hub__presence_t *find_presence(hub__worker_t *worker, const hub_t *hub)
{
    hub__presence_t *presence = worker->presences;

    while (presence != NULL && (presence->hub != hub || presence->closed))
        presence = presence->next;
    return presence;
}

static hub__presence_t *get_presence(hub__worker_t *worker, hub_t *hub)
{
    hub__presence_t *presence = find_presence(worker, hub);

    if (presence != NULL)
        return presence;
    presence = hub__alloc_zeroed(sizeof(*presence));
    presence->worker = worker;
    presence->hub = hub;
    presence->tracker = create_tracker(presence);
    presence->next = worker->presences;
    worker->presences = presence;
    return presence;
}

void hub__presence_settle(hub__worker_t *worker)
{
    if (!worker->presence_due || worker->presence_late)
        return;
    worker->presence_due = false;
    if (worker->presence_until_us == 0)
        worker->presence_until_us = hub__monotonic_us() + worker->turn_us;
    for (hub__presence_t *presence = worker->presences; presence != NULL; presence = presence->next)
        if (presence->due) {
            presence->due = false;
            hub__tracker_settle(presence->tracker);
        }
}

void hub__presence_stop(hub__worker_t *worker)
{
    for (hub__presence_t *presence = worker->presences; presence != NULL; presence = presence->next)
        if (!presence->closed)
            hub__tracker_stop(presence->tracker);
}

void hub__presence_close(hub__worker_t *worker, const hub_t *hub)
{
    hub__presence_t *presence = find_presence(worker, hub);

    if (presence == NULL)
        return;
    hub__tracker_close(presence->tracker);
    hub__buffer_dispose(&presence->topic);
    hub__buffer_dispose(&presence->list);
    presence->due = false;
    presence->closed = true;
}

void hub__presence_destroy_all(hub__worker_t *worker)
{
    while (worker->presences != NULL) {
        hub__presence_t *presence = worker->presences;

        worker->presences = presence->next;
        hub__tracker_destroy(presence->tracker);
        free(presence);
    }
}

hub__venue_t *hub__presence_enter(hub__worker_t *worker, hub_t *hub, hub_str_t topic,
                                  const hub_presence_options_t *options)
{
    hub__venue_t *venue = hub__tracker_venue(get_presence(worker, hub)->tracker, topic, options);
    char field[HUB_LOG_FIELD];

    if (venue != NULL)
        hub__venue_open(venue);
    else
        hub_log_peer(HUB_LOG_WARN, "presence.no_venue", "topic=%s", hub_log_escape(topic, field));
    return venue;
}

/* ---- of a member ---- */

/* `ret_presence` gets what the member has to do with it, made where there is nothing. */
static hub_status_t attend(hub_member_t *member, hub__member_presence_t **ret_presence)
{
    hub_conn_t *conn = (hub_conn_t *)member->session;
    const hub_presence_options_t *options = hub__member_channel(member)->options.presence;
    hub__member_presence_t *presence;
    hub__tracker_t *tracker;
    hub__venue_t *venue;

    if (options == NULL)
        return HUB_EINVAL;
    if (member->state == HUB__MEMBER_ENDED || conn->session.ended)
        return HUB_ECLOSED;
    if (hub__member_extra(member) == NULL)
        return HUB_ENOMEM;
    if ((*ret_presence = member->extra->presence) != NULL)
        return HUB_OK;
    tracker = get_presence(hub__conn_worker(conn), hub__conn_seat(conn)->endpoint->hub)->tracker;
    if (tracker->stopped)
        return HUB_ECLOSED;
    if ((presence = malloc(sizeof(*presence))) == NULL)
        return HUB_ENOMEM;
    if ((venue = hub__tracker_venue(tracker, hub__member_name(member), options)) == NULL) {
        free(presence);
        return HUB_ENOMEM;
    }
    *presence = (hub__member_presence_t){.member = member};
    hub__attendance_begin(&presence->attendance, venue);
    *ret_presence = member->extra->presence = presence;
    return HUB_OK;
}

void hub__presence_leave(hub_member_t *member, bool may_return)
{
    hub__member_presence_t *presence = member->extra->presence;
    hub__venue_t *venue = presence->attendance.venue;

    member->extra->presence = NULL;
    hub__attendance_end(&presence->attendance, may_return);
    hub__venue_tell_at_once(venue);
    free(presence);
}

/* Who is joining hears what it does behind its reply, with what is told then. */
static hub_status_t told(const hub__member_presence_t *presence, hub_status_t err)
{
    if (err == HUB_OK && presence->member->state == HUB__MEMBER_JOINED)
        hub__venue_tell_at_once(presence->attendance.venue);
    return err;
}

void hub__presence_joined(hub_member_t *member)
{
    hub__member_presence_t *presence = member->extra->presence;

    if (presence->wants_state)
        hub__attendance_wish(&presence->attendance);
    presence->wants_state = false;
    hub__venue_tell_at_once(presence->attendance.venue);
}

hub_status_t hub_presence_track(hub_member_t *member, hub_str_t key, hub_payload_t meta)
{
    hub__member_presence_t *presence;
    hub_status_t err = attend(member, &presence);

    return err != HUB_OK ? err
                         : told(presence, hub__attendance_track(&presence->attendance, key, meta));
}

hub_status_t hub_presence_update(hub_member_t *member, hub_str_t key, hub_payload_t meta)
{
    hub__member_presence_t *presence;
    hub_status_t err = attend(member, &presence);

    return err != HUB_OK ? err
                         : told(presence, hub__attendance_update(&presence->attendance, key, meta));
}

hub_status_t hub_presence_untrack(hub_member_t *member, hub_str_t key)
{
    hub__member_presence_t *presence;
    hub_status_t err = attend(member, &presence);

    return err != HUB_OK ? err
                         : told(presence, hub__attendance_untrack(&presence->attendance, key));
}

hub_status_t hub_presence_push(hub_member_t *member)
{
    hub__member_presence_t *presence;
    hub_status_t err = attend(member, &presence);

    if (err != HUB_OK)
        return err;
    /* who has not joined misses the diffs behind the state */
    if (member->state == HUB__MEMBER_JOINED)
        hub__attendance_wish(&presence->attendance);
    else
        presence->wants_state = true;
    return told(presence, HUB_OK);
}

hub_status_t hub_presence_list(hub_member_t *member, hub_payload_t *ret_list)
{
    hub__member_presence_t *presence;
    hub_status_t err = attend(member, &presence);
    hub__buffer_t *list;

    if (err != HUB_OK)
        return err;
    list = &presence_of(presence->attendance.venue->tracker)->list;
    hub__venue_list(presence->attendance.venue, list);
    *ret_list = hub_json(hub__buffer_str(list));
    return HUB_OK;
}
