/* hub/metrics.h - what is counted: one list of name, kind, unit and help. Kept per worker; counters
 * and gauges are added up when read, of peaks the highest is taken. */
#pragma once

#include "bus/base.h"
#include "hub/route.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, kind, help). Names become sockethub_<name> in Prometheus' text, where times are in
 * seconds (turn_max_us is sockethub_turn_max_seconds) and a peak is a gauge; kinds: counter, gauge,
 * peak. */
#define HUB_METRIC_MAP(X)                                                                          \
    X(conns, gauge, "connections open")                                                            \
    X(conns_blocked, gauge, "of the open connections, those whose socket takes no more for now")   \
    X(conns_total, counter, "connections opened")                                                  \
    X(members, gauge, "members: a connection joined to a topic")                                   \
    X(joins_total, counter, "joins accepted")                                                      \
    X(joins_refused_total, counter, "joins refused, for any reason")                               \
    X(joins_waited_total, counter, "joins accepted that waited for the broker to take the topic")  \
    X(joins_overdue_total, counter, "of those, answered before it did: a gap follows")             \
    X(topics, gauge, "topics with a member, per worker")                                           \
    X(messages_in_total, counter, "messages received from clients")                                \
    X(bytes_in_total, counter, "bytes received from clients")                                      \
    X(messages_out_total, counter, "messages queued to clients, each member counted")              \
    X(bytes_out_total, counter, "bytes written to clients")                                        \
    X(publishes_total, counter, "messages fanned out on a worker")                                 \
    X(encodes_total, counter, "frames encoded")                                                    \
    X(dropped_total, counter,                                                                      \
      "messages that did not reach a client's outbox or were discarded with it")                   \
    X(slow_dropped_total, counter,                                                                 \
      "of those, dropped by the policy of a channel for members that read too slowly")             \
    X(slow_gaps_total, counter, "gap notices about those")                                         \
    X(skipped_total, counter, "messages that a wire format could not carry")                       \
    X(gaps_total, counter, "gap notices from the bus")                                             \
    X(bad_envelopes_total, counter, "frames that are no envelope")                                 \
    X(rate_messages_refused_total, counter, "messages refused for their rate")                     \
    X(rate_joins_refused_total, counter, "joins refused for their rate")                           \
    X(rate_controls_closed_total, counter, "connections ended for too many control frames")        \
    X(read_pauses_total, counter, "pauses in reading a connection that sends too much")            \
    X(handler_errors_total, counter, "callbacks that failed")                                      \
    X(callbacks_slow_total, counter, "callbacks that held up their worker for callback_warn_ms")   \
    X(turns_slow_total, counter, "turns that took so long, for whatever reason")                   \
    X(upgrades_refused_total, counter, "websocket handshakes refused, for any reason")             \
    X(longpoll_conns, gauge, "of the open connections, those on long poll")                        \
    X(longpoll_polls_total, counter, "polls of long-poll clients")                                 \
    X(longpoll_posts_total, counter, "posts of long-poll clients")                                 \
    X(longpoll_refused_total, counter, "requests of long-poll clients that were refused")          \
    X(longpoll_shed_total, counter,                                                                \
      "long-poll clients ended because too many were without a poll")                              \
    X(http_requests_total, counter, "plain HTTP requests")                                         \
    X(pre_upgrade, gauge, "connections without a handshake yet")                                   \
    X(pre_upgrade_shed_total, counter, "of those, closed to make room")                            \
    X(tls_handshakes_total, counter, "TLS handshakes completed")                                   \
    X(tls_handshakes_failed_total, counter,                                                        \
      "connections to a TLS listener that ended without one, for any reason")                      \
    X(request_timeouts_total, counter,                                                             \
      "connections closed because no request, or no further one, was there in time")               \
    X(write_stalls_total, counter, "HTTP answers cut because their reader was too slow")           \
    X(tls_chatter_total, counter, "connections ended for too many key updates")                    \
    X(accept_pauses_total, counter, "accepting paused for want of descriptors")                    \
    X(accept_refused_total, counter, "connections turned away with 503 for want of descriptors")   \
    X(conns_per_ip_refused_total, counter, "connections refused: conns_per_ip")                    \
    X(connects_per_ip_refused_total, counter, "connections refused: connects_per_ip_per_s")        \
    X(drain_told_total, counter, "connections that were told of a stop before it was over")        \
    X(outbox_bytes, gauge, "bytes waiting in outboxes")                                            \
    X(memory_refused_total, counter, "connections and joins refused for want of memory")           \
    X(memory_shed_total, counter, "connections closed for want of memory")                         \
    X(memory_bytes, gauge, "bytes held on account of peers: connections, members, topics, queues") \
    X(memory_queued_bytes, gauge, "of those, in frames that wait, shared ones once")               \
    X(closed_client_total, counter, "connections ended: client")                                   \
    X(closed_lost_total, counter, "connections ended: lost")                                       \
    X(closed_server_total, counter, "connections ended: server")                                   \
    X(closed_protocol_total, counter, "connections ended: protocol")                               \
    X(closed_too_large_total, counter, "connections ended: too_large")                             \
    X(closed_limit_total, counter, "connections ended: limit")                                     \
    X(closed_slow_total, counter, "connections ended: slow")                                       \
    X(closed_ping_timeout_total, counter, "connections ended: ping_timeout")                       \
    X(closed_idle_total, counter, "connections ended: idle")                                       \
    X(closed_refused_total, counter, "connections ended: refused")                                 \
    X(closed_error_total, counter, "connections ended: error")                                     \
    X(closed_shutdown_total, counter, "connections ended: shutdown")                               \
    X(closed_duplicate_total, counter, "connections ended: duplicate")                             \
    X(closed_expired_total, counter, "connections ended: expired")                                 \
    X(closed_stale_total, counter, "connections ended: stale")                                     \
    X(reads_total, counter, "read calls on connections")                                           \
    X(writes_total, counter, "write calls on connections")                                         \
    X(turns_total, counter, "turns of the loop")                                                   \
    X(turn_max_us, peak, "the longest turn of a worker since its start")                           \
    X(wakeups_total, counter, "wake-ups by other threads")                                         \
    X(mailbox_full_total, counter, "messages that found this worker's mailbox full")               \
    X(presences, gauge, "keys tracked by members of this server")                                  \
    X(presence_diffs_total, counter, "changes of who is there told to members, per worker")        \
    X(presence_bad_total, counter, "messages about presence that could not be read or held")       \
    X(presence_peers_gone_total, counter, "workers or nodes cleared because they fell silent")     \
    X(relayed_total, counter, "closes and pushes to connections here that another node asked for") \
    X(relay_bad_total, counter, "such words of another node that could not be read, per worker")   \
    X(relay_gaps_total, counter, "times that some may have been lost, per worker")                 \
    X(offload_jobs_total, counter, "jobs taken by the offload pool")                               \
    X(offload_full_total, counter, "jobs refused because its queue was full")                      \
    X(flush_deferred_total, counter, "turns that left writing for the next one")                   \
    X(deflates_total, counter, "messages compressed, each once however many get it")               \
    X(deflate_bytes_in_total, counter, "bytes of those before")                                    \
    X(deflate_bytes_out_total, counter, "and after; of those that grew, before")                   \
    X(inflates_total, counter, "compressed messages received")                                     \
    X(inflate_bytes_in_total, counter, "bytes of those as received")                               \
    X(inflate_bytes_out_total, counter, "and inflated")                                            \
    X(inflates_bad_total, counter, "of those, bad, not UTF-8 or too large: they end a connection") \
    X(timers, gauge, "deadlines of connections, members and workers that are set")

typedef struct hub_stats {
#define HUB_METRIC_FIELD(name, kind, help) uint64_t name;
    HUB_METRIC_MAP(HUB_METRIC_FIELD)
#undef HUB_METRIC_FIELD
} hub_stats_t;

/* Of all workers. Any thread. */
HUB_API void hub_server_stats(const hub_server_t *server, hub_stats_t *ret_stats);

/* Calls `visit` for each metric in the order of the list, with name and unit as there. Any thread.
 */
typedef void (*hub_stats_visit_cb)(const char *name, const char *kind, const char *help,
                                   uint64_t value, void *user);
HUB_API void hub_stats_foreach(const hub_server_t *server, hub_stats_visit_cb visit, void *user);

/* Routes for hub_server_route(), whose `user` is the server.
 *
 * Metrics are Prometheus' text format 0.0.4; what each bus of the server's hubs counts
 * (hub_bus_stats_t) is sockethub_bus_* with the labels bus (its number, from 1), hub (the first one
 * on it) and backend. Health is {"status":"ok"}, or 503 while the server stops (`stopping`) or any
 * of its buses is not healthy (`bus_down`, with `hub`): this node should not get new clients where
 * others can have them. Alive is the same without the buses, for who would restart this process,
 * which does no broker good. From the stop on nobody is accepted: who asks then is refused the
 * connection, which to a load balancer is the same. */
HUB_API void hub_metrics_on_http(hub_http_t *http, void *server);
HUB_API void hub_health_on_http(hub_http_t *http, void *server);
HUB_API void hub_alive_on_http(hub_http_t *http, void *server);

#ifdef __cplusplus
}
#endif
