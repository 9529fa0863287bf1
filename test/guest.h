/* test/guest.h - private to the crowd: one client, what it has asked for and what it then is.
 *
 * A guest checks all that comes back; what it asks, and when, the crowd draws. Requests are
 * pipelined: they gather until guest_flush(), so that the server may meet them in one read. */
#pragma once

#include <netinet/in.h>

#include "test/crowd.h"

#define GUEST_TOPICS_MAX 16
#define GUEST_READ_BYTES 65536

typedef enum what {
    JOIN,
    LEAVE,
    SAY,
    LATER, /* is answered from another thread */
    QUIT,  /* the server ends the membership */
    HEARTBEAT,
} what_t;

typedef struct request {
    uint32_t ref;
    uint8_t what;
    uint8_t topic;
    bool optional;       /* whatever it was about may be over by now */
    uint32_t number;     /* of what was said */
    uint32_t own_newest; /* what the client itself had said there by then */
} request_t;

/* One client and one topic. */
typedef struct place {
    hearing_t hearing;
    uint32_t join_ref; /* of the last join asked for */
    bool wanted;       /* so it will be when everything asked for is answered */
    bool in;
    unsigned may_close; /* close events that may come */
    bool quits;         /* one must come, and ends the membership */
} place_t;

typedef enum stage {
    GONE,
    CONNECTING,
    OPEN,
    LEAVING,  /* a close frame was sent, by either side */
    FINISHED, /* a FIN was sent without one */
} stage_t;

typedef struct guest {
    uint32_t slot;
    stage_t stage;
    int fd;
    bool phoenix;
    bool slow;
    bool doomed; /* was kicked: will be closed */
    bool got_close;
    bool in_fragments;
    uint64_t resume_ms; /* does not read until then; 0: reads */
    uint32_t self;
    uint32_t next_ref;
    char *in, *out;
    size_t in_len, in_capacity, out_len, out_capacity;
    bool wants_out;
    request_t *requests; /* oldest first */
    size_t request_count, request_capacity;
    place_t places[GUEST_TOPICS_MAX];
} guest_t;

struct crowd {
    crowd_options_t options;
    struct sockaddr_in address;
    uint64_t random;
    int epoll_fd;
    guest_t *clients;
    bool stopping;
    bool *kicked; /* by identity */
    size_t asked; /* requests under way that are not optional */
    crowd_counts_t counts;
    char chunk[GUEST_READ_BYTES];
};

uint64_t crowd_now_ms(void);
/* Below `bound`, from the seed. */
uint32_t crowd_draw(crowd_t *crowd, uint32_t bound);

/* ---- coming and going ---- */

void guest_connect(crowd_t *crowd, guest_t *client);
/* The connection is gone, with a reset. */
void guest_reset(crowd_t *crowd, guest_t *client);
/* Asks for the end, with this code. */
void guest_close(crowd_t *crowd, guest_t *client, unsigned code);
/* The connection ends: requests may still be answered. */
void guest_expect_no_replies(crowd_t *crowd, guest_t *client);

/* ---- asking ---- */

request_t *guest_ask(crowd_t *crowd, guest_t *client, what_t what, uint32_t topic,
                     const char *event, const char *payload);
void guest_join(crowd_t *crowd, guest_t *client, uint32_t topic);
void guest_leave(crowd_t *crowd, guest_t *client, uint32_t topic);
/* A reply from another thread reaches nobody once the member is gone. */
void guest_end_membership(crowd_t *crowd, guest_t *client, uint32_t topic);
/* One message of some kind. */
void guest_say(crowd_t *crowd, guest_t *client, uint32_t topic);
/* Bytes that are no whole frame. */
void guest_append(guest_t *client, const void *bytes, size_t len);

/* ---- the socket ---- */

/* Sends what has gathered. What does not go out now goes out later; an error shows when reading. */
void guest_flush(crowd_t *crowd, guest_t *client);
void guest_read(crowd_t *crowd, guest_t *client);
/* Tells epoll what it waits for; `how` is EPOLL_CTL_*. */
void guest_watch(crowd_t *crowd, guest_t *client, int how);
