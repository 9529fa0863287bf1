/* test/port.h - a port of 127.0.0.1 for who wants the same one again after a while without it.
 *
 * It lies below those that the kernel gives to connections: so it is still free then, and who
 * connects while nobody listens does not meet himself, as TCP lets two ends of one socket do. */
#pragma once

/* Picks one and keeps other tests of this machine off it as long as the descriptor that it returns
 * is open. -1: none was found. */
int port_claim(unsigned *ret_port);

/* Connects to one, with a limit for each read and write from then on. -1: refused. */
int port_dial(unsigned port, int limit_seconds);
