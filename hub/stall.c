/* SPDX-License-Identifier: MIT */
/* h2o sets no bound to the time that an answer takes, and does not tell how much of it has left.
 * The kernel does, in a struct that the C library's headers have only the beginning of: so this
 * file includes the kernel's own, which clash with those. */
#include "hub/stall.h"

#include <linux/tcp.h>
#include <sys/socket.h>

#define TCP_LEVEL 6 /* IPPROTO_TCP */

void hub__stall_begin(hub__stall_t *stall, uint64_t taken, uint64_t now_ms, size_t stall_ms)
{
    *stall = (hub__stall_t){.taken = taken, .until_ms = now_ms + stall_ms};
}

bool hub__stall_is_over(hub__stall_t *stall, uint64_t taken, uint64_t now_ms, size_t stall_ms)
{
    uint64_t got = taken - stall->taken;

    stall->taken = taken;
    /* more would not be worth more, and must not overflow */
    if (got > HUB__STALL_BYTES)
        got = HUB__STALL_BYTES;
    if (now_ms >= stall->until_ms + got * stall_ms / HUB__STALL_BYTES)
        return true;
    stall->until_ms += got * stall_ms / HUB__STALL_BYTES;
    if (stall->until_ms > now_ms + stall_ms)
        stall->until_ms = now_ms + stall_ms;
    return false;
}

uint64_t hub__stall_taken(int fd)
{
    struct tcp_info info = {0};
    socklen_t len = sizeof(info);

    if (getsockopt(fd, TCP_LEVEL, TCP_INFO, &info, &len) != 0 ||
        len < offsetof(struct tcp_info, tcpi_bytes_acked) + sizeof(info.tcpi_bytes_acked))
        return 0;
    return info.tcpi_bytes_acked;
}
