/* SPDX-License-Identifier: MIT */
/* The smallest thing that a backend can be, and with it the proof that bus.h says all that one
 * needs to know: no header of ours but the public one. One lock guards the broker, none is held
 * while it calls a bus; a second one, held then, is what close() waits for. */
#include "test/fake_backend.h"

#include <pthread.h>
#include <stdlib.h>

#define BUSES_MAX 4
#define DOUBLED 1000

struct topic {
    struct topic *next;
    bool taken; /* messages of it are delivered */
    size_t len;
    char name[];
};

struct node {
    hub_bus_t *bus; /* NULL: a free place */
    fake_broker_t *broker;
    bool connecting;
    bool up;
    unsigned reconnects;
    unsigned life; /* one for each bus in this place: answers are for their own */
    struct topic *topics;
    size_t doubled;
    pthread_mutex_t calls; /* held while the bus is called */
};

/* A message on its way, or, without bytes, the answer to one, or the word that a topic is
 * subscribed. */
struct packet {
    struct packet *next;
    bool subscribed;
    struct node *from;
    unsigned life;
    uint64_t token;
    size_t topic_bytes;
    size_t bytes;
    char data[];
};

struct fake_broker {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct node nodes[BUSES_MAX];
    struct packet *first;
    struct packet **last;
    struct packet *swapped;
    struct packet *late;
    struct packet *words; /* of subscriptions that are not taken yet */
    struct packet *recent;
    unsigned published;
    bool busy;
    bool stop;
    bool threaded;
    pthread_t thread;
    fake_faults_t faults;
};

static void *checked(void *ptr)
{
    if (ptr == NULL)
        abort();
    return ptr;
}

static hub_str_t packet_topic(const struct packet *packet)
{
    return hub_str_n(packet->data, packet->topic_bytes);
}

static struct packet *packet_create(struct node *from, unsigned life, hub_str_t topic,
                                    hub_str_t bytes, uint64_t token)
{
    struct packet *packet = checked(malloc(sizeof(*packet) + topic.len + bytes.len));

    *packet = (struct packet){
        .from = from, .life = life, .token = token, .topic_bytes = topic.len, .bytes = bytes.len};
    memcpy(packet->data, topic.base, topic.len);
    if (bytes.len > 0)
        memcpy(packet->data + topic.len, bytes.base, bytes.len);
    return packet;
}

static struct topic **find_topic(struct node *node, hub_str_t name)
{
    struct topic **link = &node->topics;

    while (*link != NULL && !hub_str_equals(hub_str_n((*link)->name, (*link)->len), name))
        link = &(*link)->next;
    return link;
}

static void forget_topics(struct node *node)
{
    struct topic *topic;

    while ((topic = node->topics) != NULL) {
        node->topics = topic->next;
        free(topic);
    }
}

static struct node *node_of(fake_broker_t *broker, const hub_bus_t *bus)
{
    struct node *node = broker->nodes;

    while (node->bus != bus)
        node++;
    return node;
}

/* What nodes send to themselves is no message of anybody. */
static bool is_probe(hub_str_t topic)
{
    const char *slash = memchr(topic.base, '/', topic.len);
    const char *colon = memchr(topic.base, ':', topic.len);

    return slash != NULL && colon == NULL; /* all others have the ':' behind the bus's name */
}

/* ---- the backend ---- */

static hub_status_t backend_open(hub_bus_t *bus, const hub_bus_target_t *target, void **ret_self,
                                 hub_error_t *error)
{
    fake_broker_t *broker = (fake_broker_t *)(uintptr_t)target->options;
    struct node *node;

    if (broker == NULL)
        return hub_error_set(error, HUB_EINVAL, 0, "fake: no broker");
    pthread_mutex_lock(&broker->lock);
    node = node_of(broker, NULL);
    *ret_self = node; /* it may be connected by another thread before this returns */
    node->bus = bus;
    node->connecting = true;
    pthread_cond_broadcast(&broker->changed);
    pthread_mutex_unlock(&broker->lock);
    return HUB_OK;
}

/* Under the lock. */
static void send_packet(fake_broker_t *broker, struct packet *packet)
{
    *broker->last = packet;
    broker->last = &packet->next;
    pthread_cond_broadcast(&broker->changed);
}

static void backend_subscribe(void *self, hub_str_t name, uint64_t token)
{
    struct node *node = self;
    struct packet *word;
    struct topic *topic = checked(malloc(sizeof(*topic) + name.len));

    topic->len = name.len;
    memcpy(topic->name, name.base, name.len);
    pthread_mutex_lock(&node->broker->lock);
    topic->taken = !node->broker->faults.late;
    if (*find_topic(node, name) != NULL)
        node->doubled += DOUBLED;
    topic->next = node->topics;
    node->topics = topic;
    word = packet_create(node, node->life, name, (hub_str_t){0}, token);
    word->subscribed = true;
    send_packet(node->broker, word);
    pthread_mutex_unlock(&node->broker->lock);
}

static void backend_unsubscribe(void *self, hub_str_t name)
{
    struct node *node = self;
    struct topic **link, *topic;

    pthread_mutex_lock(&node->broker->lock);
    link = find_topic(node, name);
    topic = *link;
    if (topic != NULL)
        *link = topic->next;
    pthread_mutex_unlock(&node->broker->lock);
    free(topic);
}

static hub_status_t backend_publish(void *self, hub_str_t topic, hub_str_t bytes, uint64_t token)
{
    struct node *node = self;
    fake_broker_t *broker = node->broker;
    hub_status_t err;

    pthread_mutex_lock(&broker->lock);
    err = !node->up ? HUB_EBUSDOWN : broker->faults.refuse;
    if (err == HUB_OK) {
        send_packet(broker, packet_create(node, node->life, topic, bytes, token));
        if (!is_probe(topic)) {
            broker->published++;
            free(broker->recent);
            broker->recent = packet_create(node, node->life, topic, bytes, token);
        }
    }
    pthread_mutex_unlock(&broker->lock);
    return err;
}

static void backend_close(void *self)
{
    struct node *node = self;

    pthread_mutex_lock(&node->calls);
    pthread_mutex_lock(&node->broker->lock);
    node->up = false;
    node->connecting = false;
    node->life++;
    node->bus = NULL;
    forget_topics(node);
    pthread_mutex_unlock(&node->broker->lock);
    pthread_mutex_unlock(&node->calls);
}

/* A new connection, at the broker's next step. */
static void backend_reconnect(void *self)
{
    struct node *node = self;

    pthread_mutex_lock(&node->broker->lock);
    node->connecting = !node->broker->faults.stuck;
    node->reconnects++;
    pthread_cond_broadcast(&node->broker->changed);
    pthread_mutex_unlock(&node->broker->lock);
}

static size_t backend_largest_message(void *self)
{
    struct node *node = self;
    size_t largest;

    pthread_mutex_lock(&node->broker->lock);
    largest = node->broker->faults.largest;
    pthread_mutex_unlock(&node->broker->lock);
    return largest == 0 ? SIZE_MAX : largest;
}

const hub_bus_backend_t fake_backend = {
    .api = HUB_BUS_BACKEND_API,
    .name = "fake",
    .open = backend_open,
    .subscribe = backend_subscribe,
    .unsubscribe = backend_unsubscribe,
    .publish = backend_publish,
    .reconnect = backend_reconnect,
    .close = backend_close,
    .largest_message = backend_largest_message,
    .one_order = true,
};

/* ---- the broker ---- */

static void deliver(fake_broker_t *broker, struct node *node, const struct packet *packet)
{
    struct topic *topic;
    hub_bus_t *bus = NULL;

    pthread_mutex_lock(&node->calls);
    pthread_mutex_lock(&broker->lock);
    topic = *find_topic(node, packet_topic(packet));
    if (node->up && topic != NULL && topic->taken)
        bus = node->bus;
    pthread_mutex_unlock(&broker->lock);
    if (bus != NULL)
        hub_bus_remote_message(bus, packet_topic(packet),
                               hub_str_n(packet->data + packet->topic_bytes, packet->bytes));
    pthread_mutex_unlock(&node->calls);
}

static void deliver_to_all(fake_broker_t *broker, const struct packet *packet, int times)
{
    for (int i = 0; i < times; i++) {
        for (int k = 0; k < BUSES_MAX; k++)
            deliver(broker, &broker->nodes[k], packet);
    }
}

static void answer(fake_broker_t *broker, const struct packet *packet, hub_status_t verdict,
                   int times)
{
    struct node *node = packet->from;
    hub_bus_t *bus;

    pthread_mutex_lock(&node->calls);
    pthread_mutex_lock(&broker->lock);
    bus = node->life == packet->life ? node->bus : NULL;
    pthread_mutex_unlock(&broker->lock);
    for (int i = 0; i < times && bus != NULL; i++)
        hub_bus_remote_published(bus, packet->token, verdict);
    pthread_mutex_unlock(&node->calls);
}

static void push(struct packet **list, struct packet *packet)
{
    packet->next = *list;
    *list = packet;
}

/* Takes `packet`. */
static void carry_message(fake_broker_t *broker, struct packet *packet, fake_faults_t faults)
{
    int times = faults.twice ? 2 : 1;

    if (faults.lose > 0 || faults.deaf ||
        (faults.mute != NULL && packet->from->bus == faults.mute &&
         !is_probe(hub_str_n(packet->data, packet->topic_bytes)))) {
        free(packet);
    } else if (faults.swap && broker->swapped == NULL) {
        broker->swapped = packet;
    } else {
        deliver_to_all(broker, packet, times);
        if (broker->swapped != NULL)
            deliver_to_all(broker, broker->swapped, times);
        free(broker->swapped);
        broker->swapped = NULL;
        free(packet);
    }
}

/* Takes `packet`. */
static void confirm(fake_broker_t *broker, struct packet *packet, bool silent)
{
    struct node *node = packet->from;
    struct topic *topic;
    hub_status_t refuse;
    hub_bus_t *bus;

    pthread_mutex_lock(&node->calls);
    pthread_mutex_lock(&broker->lock);
    bus = node->up && node->life == packet->life && !silent ? node->bus : NULL;
    topic = *find_topic(node, packet_topic(packet));
    if (bus != NULL && topic != NULL)
        topic->taken = true;
    refuse = broker->faults.refuse_topics;
    pthread_mutex_unlock(&broker->lock);
    if (bus != NULL && refuse != HUB_OK)
        hub_bus_remote_refused(bus, packet_topic(packet), packet->token, refuse);
    else if (bus != NULL)
        hub_bus_remote_subscribed(bus, packet_topic(packet), packet->token);
    pthread_mutex_unlock(&node->calls);
    free(packet);
}

/* The answer needs no bytes, but a copy is the simplest thing that has the rest. */
static void carry(fake_broker_t *broker, struct packet *packet, fake_faults_t faults)
{
    hub_str_t nothing = HUB_STR("");
    struct packet *copy =
        packet_create(packet->from, packet->life, nothing, nothing, packet->token);

    carry_message(broker, packet, faults);
    if (faults.answers == FAKE_ANSWERS_LATE) {
        push(&broker->late, copy);
        return;
    }
    if (faults.answers != FAKE_ANSWERS_NEVER)
        answer(broker, copy, faults.verdict, faults.answers == FAKE_ANSWERS_TWICE ? 2 : 1);
    free(copy);
}

/* The next bus that waits for its connection; under the lock. */
static struct node *next_connecting(fake_broker_t *broker)
{
    for (int i = 0; i < BUSES_MAX; i++) {
        if (broker->nodes[i].connecting)
            return &broker->nodes[i];
    }
    return NULL;
}

static void connect_node(fake_broker_t *broker, struct node *node)
{
    hub_bus_t *bus;

    pthread_mutex_lock(&node->calls);
    pthread_mutex_lock(&broker->lock);
    node->connecting = false;
    if (node->up)
        forget_topics(node);
    node->up = node->bus != NULL;
    bus = node->bus;
    pthread_mutex_unlock(&broker->lock);
    if (bus != NULL)
        hub_bus_remote_up(bus);
    pthread_mutex_unlock(&node->calls);
}

static void put_aside(fake_broker_t *broker, struct packet *word)
{
    pthread_mutex_lock(&broker->lock);
    push(&broker->words, word);
    pthread_mutex_unlock(&broker->lock);
}

/* One step of work; false when there is none. Under the lock, which it lets go of meanwhile. */
static bool step(fake_broker_t *broker)
{
    struct node *node = next_connecting(broker);
    struct packet *packet = broker->faults.slow ? NULL : broker->first;
    fake_faults_t faults = broker->faults;

    if (node == NULL && packet == NULL)
        return false;
    broker->busy = true;
    if (node == NULL) {
        broker->first = packet->next;
        if (broker->first == NULL)
            broker->last = &broker->first;
        broker->faults.lose -= faults.lose > 0 && !packet->subscribed;
        broker->faults.unconfirmed -= faults.unconfirmed > 0 && packet->subscribed;
    }
    pthread_mutex_unlock(&broker->lock);
    if (node != NULL)
        connect_node(broker, node);
    else if (packet->subscribed && faults.late)
        put_aside(broker, packet);
    else if (packet->subscribed)
        confirm(broker, packet, faults.silent || faults.unconfirmed > 0);
    else
        carry(broker, packet, faults);
    pthread_mutex_lock(&broker->lock);
    broker->busy = false;
    pthread_cond_broadcast(&broker->changed);
    return true;
}

void fake_broker_run(fake_broker_t *broker)
{
    pthread_mutex_lock(&broker->lock);
    while (step(broker))
        ;
    pthread_mutex_unlock(&broker->lock);
}

void fake_broker_step(fake_broker_t *broker)
{
    pthread_mutex_lock(&broker->lock);
    step(broker);
    pthread_mutex_unlock(&broker->lock);
}

static void *run(void *arg)
{
    fake_broker_t *broker = arg;

    pthread_mutex_lock(&broker->lock);
    while (!broker->stop) {
        if (!step(broker))
            pthread_cond_wait(&broker->changed, &broker->lock);
    }
    pthread_mutex_unlock(&broker->lock);
    return NULL;
}

void fake_broker_settle(fake_broker_t *broker)
{
    pthread_mutex_lock(&broker->lock);
    while (broker->busy || broker->first != NULL || next_connecting(broker) != NULL)
        pthread_cond_wait(&broker->changed, &broker->lock);
    pthread_mutex_unlock(&broker->lock);
}

fake_broker_t *fake_broker_create(void)
{
    fake_broker_t *broker = checked(calloc(1, sizeof(*broker)));

    broker->last = &broker->first;
    pthread_mutex_init(&broker->lock, NULL);
    pthread_cond_init(&broker->changed, NULL);
    for (int i = 0; i < BUSES_MAX; i++) {
        broker->nodes[i].broker = broker;
        pthread_mutex_init(&broker->nodes[i].calls, NULL);
    }
    return broker;
}

void fake_broker_start(fake_broker_t *broker)
{
    broker->threaded = true;
    if (pthread_create(&broker->thread, NULL, run, broker) != 0)
        abort();
}

static void free_packets(struct packet *packet)
{
    struct packet *next;

    for (; packet != NULL; packet = next) {
        next = packet->next;
        free(packet);
    }
}

void fake_broker_destroy(fake_broker_t *broker)
{
    pthread_mutex_lock(&broker->lock);
    broker->stop = true;
    pthread_cond_broadcast(&broker->changed);
    pthread_mutex_unlock(&broker->lock);
    if (broker->threaded)
        pthread_join(broker->thread, NULL);
    free_packets(broker->first);
    free_packets(broker->swapped);
    free_packets(broker->late);
    free_packets(broker->words);
    free_packets(broker->recent);
    for (int i = 0; i < BUSES_MAX; i++)
        pthread_mutex_destroy(&broker->nodes[i].calls);
    pthread_cond_destroy(&broker->changed);
    pthread_mutex_destroy(&broker->lock);
    free(broker);
}

void fake_broker_set(fake_broker_t *broker, fake_faults_t faults)
{
    pthread_mutex_lock(&broker->lock);
    broker->faults = faults;
    while (!faults.late && broker->words != NULL) {
        struct packet *word = broker->words;

        broker->words = word->next;
        word->next = NULL;
        send_packet(broker, word);
    }
    pthread_cond_broadcast(&broker->changed);
    pthread_mutex_unlock(&broker->lock);
}

void fake_broker_answer_late(fake_broker_t *broker)
{
    struct packet *packet;

    while ((packet = broker->late) != NULL) {
        broker->late = packet->next;
        answer(broker, packet, HUB_OK, 1);
        free(packet);
    }
}

void fake_broker_disconnect(fake_broker_t *broker, hub_bus_t *bus)
{
    struct node *node = node_of(broker, bus);

    pthread_mutex_lock(&node->calls);
    pthread_mutex_lock(&broker->lock);
    node->up = false;
    forget_topics(node);
    pthread_mutex_unlock(&broker->lock);
    hub_bus_remote_down(bus);
    pthread_mutex_unlock(&node->calls);
}

void fake_broker_connect(fake_broker_t *broker, hub_bus_t *bus)
{
    connect_node(broker, node_of(broker, bus));
}

void fake_broker_inject(fake_broker_t *broker, hub_bus_t *bus, hub_str_t topic, hub_str_t bytes)
{
    struct node *node = node_of(broker, bus);

    pthread_mutex_lock(&node->calls);
    hub_bus_remote_message(bus, topic, bytes);
    pthread_mutex_unlock(&node->calls);
}

unsigned fake_broker_reconnects(fake_broker_t *broker, const hub_bus_t *bus)
{
    struct node *node = node_of(broker, bus);
    unsigned reconnects;

    pthread_mutex_lock(&broker->lock);
    reconnects = node->reconnects;
    pthread_mutex_unlock(&broker->lock);
    return reconnects;
}

unsigned fake_broker_published(fake_broker_t *broker)
{
    unsigned published;

    pthread_mutex_lock(&broker->lock);
    published = broker->published;
    pthread_mutex_unlock(&broker->lock);
    return published;
}

hub_str_t fake_broker_last_bytes(const fake_broker_t *broker)
{
    return hub_str_n(broker->recent->data + broker->recent->topic_bytes, broker->recent->bytes);
}

size_t fake_broker_subscriptions(fake_broker_t *broker, const hub_bus_t *bus)
{
    struct node *node = node_of(broker, bus);
    size_t count;

    pthread_mutex_lock(&broker->lock);
    count = node->doubled;
    for (struct topic *topic = node->topics; topic != NULL; topic = topic->next)
        count += !is_probe(hub_str_n(topic->name, topic->len));
    pthread_mutex_unlock(&broker->lock);
    return count;
}
