/* test/kept.h - the broker that keeper.c keeps for a run of ctest. */
#pragma once

#include "test/broker.h"

/* The file that tells of it. */
void kept_broker_path(broker_kind_t kind, char *ret_path, size_t size);
/* Owned by the caller (free). NULL: none is kept now. */
char *kept_broker_url(broker_kind_t kind);
/* The process that keeps it; 0: none. */
pid_t kept_broker_keeper(broker_kind_t kind);
