/* hub/limits.h - every limit that is on by default, in one list: option, default, ceiling, what
 * happens at it.
 *
 * Zero in an option means its default; HUB_OFF switches it off where `off` is allowed. A value past
 * the ceiling is an error that names the option. Units are in the names. What is an error reply to
 * a native client closes a Phoenix client with 1008 where its frame is no envelope then.
 *
 * A rate and its burst are one limit: so many at once, so many a second in the long run; where one
 * of them is off there is none. Messages are whole ones, envelopes or not; joins count whatever
 * becomes of them; control frames are a client's pings and pongs, but for a pong that the server
 * asked for. A raw route closes with 1008 at once where messages are over their rate, and knows no
 * joins: unjoined_ms does not apply to it. conns_per_identity is for the connections that an
 * endpoint has on all threads, long-poll clients among them. */
#pragma once

#include "bus/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, default, ceiling, may be off, at the limit) - per endpoint */
#define HUB_LIMIT_MAP(X)                                                                           \
    X(message_bytes, 65536, 67108864, false, "close 1009")                                         \
    X(fragments, 64, 1024, true, "close 1008")                                                     \
    X(unfinished_ms, 10000, 60000, true, "close 1008")                                             \
    X(topic_bytes, 255, 1024, false, "error bad_topic")                                            \
    X(event_bytes, 64, 255, false, "error event_not_found")                                        \
    X(ref_bytes, 32, 64, false, "error invalid_payload")                                           \
    X(envelope_depth, 8, 256, false, "error invalid_payload")                                      \
    X(payload_depth, 64, 256, false, "error invalid_payload")                                      \
    X(bad_envelopes, 10, 1000000, true, "close 1008")                                              \
    X(topics, 128, 4096, false, "error limit")                                                     \
    X(outbox_bytes, 1048576, 268435456, false, "close 4008")                                       \
    X(outbox_messages, 4096, 1048576, true, "close 4008")                                          \
    X(outbox_age_ms, 10000, 600000, true, "close 4008")                                            \
    X(ping_ms, 25000, 3600000, true, "a ping is sent")                                             \
    X(pong_ms, 8000, 600000, false, "closed")                                                      \
    X(idle_ms, 60000, 86400000, true, "close 1001")                                                \
    X(close_ms, 2000, 10000, false, "TCP is closed")                                               \
    X(longpoll_window_ms, 10000, 60000, false, "an empty answer; half more without a poll: ended") \
    X(longpoll_body_bytes, 524288, 16777216, false,                                                \
      "status 413; body_bytes of the server holds, too")                                           \
    X(longpoll_answer_bytes, 262144, 67108864, false, "the rest goes into the next answer")        \
    X(longpoll_idle_clients, 1000, 1048576, true, "the one longest without a poll is ended")       \
    X(messages_per_s, 100, 1000000, true, "error rate; after 5 s of it close 1008")                \
    X(messages_burst, 200, 1000000, true, "as messages_per_s")                                     \
    X(bytes_per_s, 262144, 1073741824, true, "reading pauses")                                     \
    X(bytes_burst, 1048576, 1073741824, true, "as bytes_per_s")                                    \
    X(joins_per_s, 20, 1000000, true, "error rate")                                                \
    X(joins_burst, 128, 1000000, true, "as joins_per_s")                                           \
    X(controls_per_s, 10, 1000000, true, "close 1008")                                             \
    X(controls_burst, 20, 1000000, true, "as controls_per_s")                                      \
    X(conns_per_identity, 32, 1000000, true, "the oldest is closed, 4029")                         \
    X(unjoined_ms, HUB_OFF, 600000, true, "close 4001")

typedef struct hub_limits {
#define HUB_LIMIT_FIELD(name, value, ceiling, off, at_limit) size_t name;
    HUB_LIMIT_MAP(HUB_LIMIT_FIELD)
#undef HUB_LIMIT_FIELD
} hub_limits_t;

/* X(name, default, ceiling, may be off, at the limit) - per server */
#define HUB_SERVER_LIMIT_MAP(X)                                                                    \
    X(connections, 10000, 1048576, true, "503 with Retry-After; at most nofile - 64")              \
    X(pre_upgrade, 1024, 65536, false, "the oldest unfinished one is closed")                      \
    X(conns_per_ip, SIZE_MAX, 1048576, true,                                                       \
      "429 with Retry-After; IPv6: per /64; a long-poll client counts beside its sockets")         \
    X(connects_per_ip_per_s, SIZE_MAX, 1048576, true, "429 with Retry-After; IPv6: per /64")       \
    X(connects_per_ip_burst, 50, 1048576, false, "so many at once, where the one above is on")     \
    X(head_bytes, 16384, 417792, false, "431")                                                     \
    X(head_fields, 64, 64, false, "431")                                                           \
    X(path_bytes, 2048, 16384, false, "414")                                                       \
    X(body_bytes, 1048576, 16777216, false, "413")                                                 \
    X(request_ms, 10000, 60000, false, "TLS handshake and request, in all: closed")                \
    X(write_stall_ms, 30000, 600000, false,                                                        \
      "HTTP answer: closed; so is who takes less than 16 KiB in it, on average; on a unix socket " \
      "who has not taken all of it")                                                               \
    X(mailbox_messages, 65536, 16777216, false, "a gap for that worker's members")                 \
    X(memory_budget_bytes, 0, SIZE_MAX / 4, true,                                                  \
      "what peers make all workers hold: nobody new from 80 % on (503, error busy), the largest "  \
      "queues closed from 90 % on (4008); 0: half of what machine or cgroup has")                  \
    X(queued_bytes, 0, SIZE_MAX / 4, true,                                                         \
      "frames that wait, shared ones once: the largest queues are closed, 4008; 0: a quarter of "  \
      "memory_budget_bytes")                                                                       \
    X(drain_ms, 30000, 600000, false, "what is left is cut")                                       \
    X(drain_batch, 1000, 1048576, true, "at a stop, so many are closed per drain_batch_ms")        \
    X(drain_batch_ms, 200, 60000, false, "the next batch is closed")                               \
    X(drain_retry_ms, 10000, 600000, true, "clients are asked to come back within that time")      \
    X(callback_warn_ms, 50, 60000, true, "a warning names the callback that held up the loop")

typedef struct hub_server_limits {
#define HUB_LIMIT_FIELD(name, value, ceiling, off, at_limit) size_t name;
    HUB_SERVER_LIMIT_MAP(HUB_LIMIT_FIELD)
#undef HUB_LIMIT_FIELD
} hub_server_limits_t;

/* X(limit, what of hub/metrics.h counts that it was met): those that have a counter. */
#define HUB_LIMIT_COUNTER_MAP(X)                                                                   \
    X(message_bytes, closed_too_large_total)                                                       \
    X(fragments, closed_limit_total)                                                               \
    X(unfinished_ms, closed_limit_total)                                                           \
    X(topic_bytes, bad_envelopes_total)                                                            \
    X(event_bytes, bad_envelopes_total)                                                            \
    X(ref_bytes, bad_envelopes_total)                                                              \
    X(envelope_depth, bad_envelopes_total)                                                         \
    X(payload_depth, bad_envelopes_total)                                                          \
    X(bad_envelopes, closed_limit_total)                                                           \
    X(topics, joins_refused_total)                                                                 \
    X(outbox_bytes, closed_slow_total)                                                             \
    X(outbox_messages, closed_slow_total)                                                          \
    X(outbox_age_ms, closed_slow_total)                                                            \
    X(pong_ms, closed_ping_timeout_total)                                                          \
    X(idle_ms, closed_idle_total)                                                                  \
    X(longpoll_window_ms, closed_idle_total)                                                       \
    X(longpoll_body_bytes, longpoll_refused_total)                                                 \
    X(longpoll_idle_clients, longpoll_shed_total)                                                  \
    X(messages_per_s, rate_messages_refused_total)                                                 \
    X(messages_burst, rate_messages_refused_total)                                                 \
    X(bytes_per_s, read_pauses_total)                                                              \
    X(bytes_burst, read_pauses_total)                                                              \
    X(joins_per_s, rate_joins_refused_total)                                                       \
    X(joins_burst, rate_joins_refused_total)                                                       \
    X(controls_per_s, rate_controls_closed_total)                                                  \
    X(controls_burst, rate_controls_closed_total)                                                  \
    X(conns_per_identity, closed_duplicate_total)                                                  \
    X(unjoined_ms, closed_stale_total)                                                             \
    X(connections, upgrades_refused_total)                                                         \
    X(pre_upgrade, pre_upgrade_shed_total)                                                         \
    X(conns_per_ip, conns_per_ip_refused_total)                                                    \
    X(connects_per_ip_per_s, connects_per_ip_refused_total)                                        \
    X(connects_per_ip_burst, connects_per_ip_refused_total)                                        \
    X(request_ms, request_timeouts_total)                                                          \
    X(write_stall_ms, write_stalls_total)                                                          \
    X(mailbox_messages, mailbox_full_total)                                                        \
    X(memory_budget_bytes, memory_refused_total)                                                   \
    X(queued_bytes, memory_shed_total)                                                             \
    X(drain_batch, drain_told_total)                                                               \
    X(callback_warn_ms, callbacks_slow_total)

/* Replaces zeros by defaults and checks ceilings. HUB_EINVAL with a text that names the option, its
 * value and what is allowed. Any thread. */
HUB_API HUB_MUST_USE hub_status_t hub_limits_resolve(hub_limits_t *limits, hub_error_t *error);
HUB_API HUB_MUST_USE hub_status_t hub_server_limits_resolve(hub_server_limits_t *limits,
                                                            hub_error_t *error);

#ifdef __cplusplus
}
#endif
