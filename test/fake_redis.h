/* test/fake_redis.h - something that listens like a Redis, and says what it was told to say. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

typedef struct fake_redis fake_redis_t;

typedef struct fake_redis_lines {
    const char *first;  /* behind the first bytes of a connection; NULL: silence */
    const char *second; /* behind the next ones, */
    bool hang_up;       /* behind the last of these */
    bool in_turn;       /* of each two connections one says it, not always the same of them */
} fake_redis_lines_t;

/* `lines` is borrowed. On a thread of its own. */
fake_redis_t *fake_redis_start(const fake_redis_lines_t *lines);
/* NULL is allowed. */
void fake_redis_stop(fake_redis_t *fake);
unsigned fake_redis_port(const fake_redis_t *fake);
size_t fake_redis_accepted(fake_redis_t *fake); /* connections so far */
