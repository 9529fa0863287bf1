/* SPDX-License-Identifier: MIT */
/* A hub on a loop that somebody else runs: a worker without a thread, whose turn ends with each of
 * its callbacks. */
#include "hub/h2o.h"

#include <stdlib.h>

#include "hub/internal.h"

#define MAILBOX 65536
#define TURN_US 1000

struct hub_h2o_mount {
    hub_t *hub;
    hub__worker_t *worker;
    hub__endpoint_t *endpoint;
    hub__seat_t *seat;
    hub__timer_t poll; /* while detaching */
    uint64_t cut_at_ms;
    void (*on_detached)(void *user);
    void *user;
};

typedef struct hub__doorway {
    h2o_handler_t super;
    hub_h2o_mount_t *mount;
    h2o_context_t *context;
} hub__doorway_t;

static int on_request(h2o_handler_t *handler, h2o_req_t *req)
{
    hub__doorway_t *doorway = (hub__doorway_t *)handler;
    hub__worker_t *worker;

    if (doorway->mount == NULL || req->conn->ctx != doorway->context)
        return -1; /* another mount of this path, or the program's own answer */
    worker = doorway->mount->worker;
    hub__worker_enter(worker);
    if (worker->stopping)
        hub__http_refuse(req, 503, NULL, (hub_str_t){0});
    else
        hub__endpoint_request(doorway->mount->seat, req);
    hub__worker_leave(worker);
    return 0;
}

hub_status_t hub_h2o_attach(hub_t *hub, h2o_context_t *context, h2o_pathconf_t *pathconf,
                            const hub_endpoint_options_t *options, hub_h2o_mount_t **ret_mount)
{
    hub_error_t error = {0};
    hub_h2o_mount_t *mount;
    hub__doorway_t *doorway;
    hub_status_t err;

    err = hub->server == NULL
              ? hub__start(hub, &error)
              : hub_error_set(&error, HUB_EBUSY, 0, "hub \"%s\" is mounted on a server", hub->name);
    if (err != HUB_OK) {
        hub__log_failure("h2o.attach", err, &error);
        return err;
    }
    mount = hub__alloc_zeroed(sizeof(*mount));
    mount->hub = hub;
    err = hub__endpoint_create(hub, options, NULL, NULL, &mount->endpoint, &error);
    if (err == HUB_OK &&
        (mount->worker = hub__worker_create(0, context->loop, MAILBOX, TURN_US)) == NULL)
        err = HUB_ESYSTEM;
    if (err == HUB_OK) {
        mount->worker->mounted = true;
        mount->worker->context = context;
        err = hub__worker_attach(mount->worker, hub);
    }
    if (err != HUB_OK) {
        hub__log_failure("h2o.attach", err, &error);
        if (mount->worker != NULL) {
            hub__worker_close(mount->worker);
            hub__worker_release(mount->worker);
        }
        hub__endpoint_destroy(mount->endpoint);
        free(mount);
        return err;
    }
    mount->seat = hub__seat_create(mount->worker, mount->endpoint);
    doorway = (hub__doorway_t *)h2o_create_handler(pathconf, sizeof(*doorway));
    doorway->super.on_req = on_request;
    doorway->mount = mount;
    doorway->context = context;
    mount->worker->listening = doorway;
    *ret_mount = mount;
    return HUB_OK;
}

static void on_poll(hub__timer_t *timer, uint64_t now_ms)
{
    hub_h2o_mount_t *mount = HUB__CONTAINER(timer, hub_h2o_mount_t, poll);
    hub__worker_t *worker = mount->worker;

    if (now_ms >= mount->cut_at_ms)
        for (uint32_t i = 0; i != worker->slot_count; ++i)
            if (worker->slots[i].conn != NULL)
                hub__conn_lost(worker->slots[i].conn, HUB_DISCONNECT_SHUTDOWN);
    if (worker->conn_count != 0 || worker->jobs_out != 0 || worker->upgrades_out != 0) {
        hub__timer_arm(worker->wheel, &mount->poll, now_ms + 5);
        return;
    }
    hub__exchange_forget(worker); /* for connections of other loops */
    worker->stopped = true;
}

void hub__h2o_worker_gone(hub__worker_t *worker)
{
    hub__doorway_t *doorway = worker->listening;
    hub_h2o_mount_t *mount = doorway->mount;
    void (*on_detached)(void *user) = mount->on_detached;
    void *user = mount->user;

    doorway->mount = NULL;
    hub__worker_detach(worker, mount->hub);
    hub__seat_destroy(mount->seat);
    hub__worker_close(worker);
    hub__worker_release(worker);
    hub__endpoint_destroy(mount->endpoint);
    free(mount);
    if (on_detached != NULL)
        on_detached(user);
}

void hub_h2o_detach(hub_h2o_mount_t *mount, void (*on_detached)(void *user), void *user)
{
    hub__worker_t *worker = mount->worker;

    mount->on_detached = on_detached;
    mount->user = user;
    hub__worker_enter(worker);
    worker->stopping = true;
    hub__endpoint_forget_requests(worker);
    hub__presence_stop(worker);
    for (uint32_t i = 0; i != worker->slot_count; ++i)
        if (worker->slots[i].conn != NULL)
            hub__conn_want_close(worker->slots[i].conn, HUB_DISCONNECT_SHUTDOWN, 1012,
                                 (hub_str_t){0});
    mount->cut_at_ms = worker->now_ms + mount->endpoint->options.limits.close_ms;
    mount->poll.on_due = on_poll;
    hub__timer_arm(worker->wheel, &mount->poll, worker->now_ms);
    hub__worker_leave(worker);
}
