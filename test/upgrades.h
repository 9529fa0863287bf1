/* test/upgrades.h - upgrades, right and wrong, and the status that each gets (RFC 6455 4.2.1, RFC
 * 9112). The parser is asked about them, and a server over a socket. */
#pragma once

#include "bus/base.h"

#define REQUEST "GET /socket HTTP/1.1\r\n"
#define HOST "Host: a.example\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define VERSION "Sec-WebSocket-Version: 13\r\n"
#define BUT_REQUEST HOST UPGRADE CONNECTION KEY VERSION "\r\n"
#define BUT_HOST REQUEST UPGRADE CONNECTION KEY VERSION
#define BUT_UPGRADE REQUEST HOST CONNECTION KEY VERSION
#define BUT_CONNECTION REQUEST HOST UPGRADE KEY VERSION
#define BUT_KEY REQUEST HOST UPGRADE CONNECTION VERSION
#define BUT_VERSION REQUEST HOST UPGRADE CONNECTION KEY
#define GOOD REQUEST HOST UPGRADE CONNECTION KEY VERSION

struct upgrade {
    int status; /* 0: it is one */
    int served; /* what a server with a hub at /socket answers */
    hub_str_t head;
};

#define ROW(status, head) ROW_SERVED(status, (status) == 0 ? 101 : (status), head)
#define ROW_SERVED(status, served, head)                                                           \
    {                                                                                              \
        status, served,                                                                            \
        {                                                                                          \
            head, sizeof(head) - 1                                                                 \
        }                                                                                          \
    }

static const struct upgrade upgrades[] = {
    ROW(0, GOOD "\r\n"),
    ROW(0, "\r\n" GOOD "\r\n"),
    ROW(0, GOOD "Origin: http://a.example\r\nCookie: a=b\r\n\r\n"),
    ROW(0, GOOD "X-Text: gr\xC3\xBC\xC3\x9F\tund mehr\r\nX-Empty:\r\nX-Blank:  \t \r\n\r\n"),

    ROW_SERVED(0, 404, "GET / HTTP/1.1\r\n" BUT_REQUEST),
    ROW(0, "GET /socket?vsn=2.0.0&a=%20?/ HTTP/1.1\r\n" BUT_REQUEST),
    ROW(0, "GET http://a.example/socket HTTP/1.1\r\n" BUT_REQUEST),
    ROW_SERVED(0, 404, "GET HTTP://A.example HTTP/1.1\r\n" BUT_REQUEST),
    ROW_SERVED(0, 404, "GET https://a.example?x HTTP/1.1\r\n" BUT_REQUEST),
    ROW(0, "GET /socket HTTP/1.2\r\n" BUT_REQUEST),
    ROW(400, "GET http://b.example/socket HTTP/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET http://me@a.example/socket HTTP/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET http:///socket HTTP/1.1\r\n" BUT_REQUEST),
    ROW_SERVED(400, 404, "GET ftp://a.example/socket HTTP/1.1\r\n" BUT_REQUEST),
    ROW_SERVED(400, 404, "GET socket HTTP/1.1\r\n" BUT_REQUEST),
    ROW_SERVED(400, 404, "GET * HTTP/1.1\r\n" BUT_REQUEST),
    ROW_SERVED(400, 404, "GET ?a HTTP/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET /socket#part HTTP/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET /s\xC3\xB6"
             "cket HTTP/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET /soc\0ket HTTP/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET /soc\x7Fket HTTP/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET /soc ket HTTP/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET  /socket HTTP/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET /socket  HTTP/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET\t/socket HTTP/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET /socket\r\n" BUT_REQUEST),
    ROW(400, "GET /socket HTTP/1.0\r\n" BUT_REQUEST),
    ROW(400, "GET /socket HTTP/1.\r\n" BUT_REQUEST),
    ROW(400, "GET /socket HTTP/1.x\r\n" BUT_REQUEST),
    ROW(400, "GET /socket HTTP/1.11\r\n" BUT_REQUEST),
    ROW(400, "GET /socket HTTP/2.0\r\n" BUT_REQUEST),
    ROW(400, "GET /socket http/1.1\r\n" BUT_REQUEST),
    ROW(400, "GET /socket HTTP/1.1 \r\n" BUT_REQUEST),
    ROW(400, "GET /socket HTTP/1.1\n" BUT_REQUEST),
    ROW(400, "\r\n\r\n" GOOD "\r\n"),
    ROW(400, "\n" GOOD "\r\n"),
    ROW(400, " " GOOD "\r\n"),
    ROW(400, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ROW(405, "POST /socket HTTP/1.1\r\n" BUT_REQUEST),
    ROW(405, "HEAD /socket HTTP/1.1\r\n" BUT_REQUEST),
    ROW(405, "get /socket HTTP/1.1\r\n" BUT_REQUEST),
    ROW_SERVED(405, 404, "OPTIONS * HTTP/1.1\r\n" BUT_REQUEST),
    ROW_SERVED(405, 404, "CONNECT a.example:80 HTTP/1.1\r\n" BUT_REQUEST),

    ROW(0, BUT_HOST "host:a.example:4000\r\n\r\n"),
    ROW(0, BUT_HOST "HOST: [::1]:4000\r\n\r\n"),
    ROW(0, BUT_HOST "Host: 127.0.0.1 \r\n\r\n"),
    ROW(400, BUT_HOST "\r\n"),
    ROW(400, BUT_HOST HOST HOST "\r\n"),
    ROW(400, BUT_HOST HOST "host: b.example\r\n\r\n"),
    ROW(400, BUT_HOST "Host:\r\n\r\n"),
    ROW(400, BUT_HOST "Host: a.example, b.example\r\n\r\n"),
    ROW(400, BUT_HOST "Host: a.example/path\r\n\r\n"),
    ROW(400, BUT_HOST "Host: me@a.example\r\n\r\n"),
    ROW(400, BUT_HOST "Host: a.example:port\r\n\r\n"),
    ROW(400, BUT_HOST "Host: a.example:\r\n\r\n"),
    ROW(400, BUT_HOST "Host: a.example:65536\r\n\r\n"),
    ROW(400, BUT_HOST "Host: http://a.example\r\n\r\n"),

    ROW(0, BUT_UPGRADE "upgrade: WebSocket\r\n\r\n"),
    ROW(0, BUT_UPGRADE "Upgrade: h2c, WEBSOCKET\r\n\r\n"),
    ROW(0, BUT_UPGRADE "Upgrade: h2c\r\nUpgrade: ,websocket ,\r\n\r\n"),
    ROW(426, BUT_UPGRADE "\r\n"),
    ROW(426, BUT_UPGRADE "Upgrade:\r\n\r\n"),
    ROW(426, BUT_UPGRADE "Upgrade: h2c\r\n\r\n"),
    ROW(426, BUT_UPGRADE "Upgrade: websocket/13\r\n\r\n"),
    ROW(426, BUT_UPGRADE "Upgrade: websockets\r\n\r\n"),
    ROW(426, BUT_UPGRADE "Upgrade: web socket\r\n\r\n"),
    ROW(426, BUT_UPGRADE "X-Upgrade: websocket\r\n\r\n"),

    ROW(0, BUT_CONNECTION "connection: keep-alive, UPGRADE\r\n\r\n"),
    ROW(0, BUT_CONNECTION "Connection: keep-alive\r\nConnection:\tupgrade\t\r\n\r\n"),
    ROW(0, BUT_CONNECTION "Connection: a,b,,c ,upgrade\r\n\r\n"),
    ROW(426, BUT_CONNECTION "\r\n"),
    ROW(426, BUT_CONNECTION "Connection: keep-alive\r\n\r\n"),
    ROW(426, BUT_CONNECTION "Connection: close, upgraded\r\n\r\n"),
    ROW(426, BUT_CONNECTION "Connection: keep-alive; upgrade\r\n\r\n"),
    ROW(426, BUT_CONNECTION "Connection: \"upgrade\"\r\n\r\n"),

    ROW(0, BUT_VERSION "sec-websocket-version:  13 \r\n\r\n"),
    ROW(426, BUT_VERSION "\r\n"),
    ROW(426, BUT_VERSION "Sec-WebSocket-Version: 8\r\n\r\n"),
    ROW(426, BUT_VERSION "Sec-WebSocket-Version: 14\r\n\r\n"),
    ROW(426, BUT_VERSION "Sec-WebSocket-Version: 13, 8\r\n\r\n"),
    ROW(426, BUT_VERSION "Sec-WebSocket-Version: 013\r\n\r\n"),
    ROW(426, BUT_VERSION "Sec-WebSocket-Version:\r\n\r\n"),
    ROW(400, BUT_VERSION VERSION VERSION "\r\n"),
    ROW(400, BUT_VERSION VERSION "Sec-WebSocket-Version: 8\r\n\r\n"),

    ROW(0, BUT_KEY "SEC-WEBSOCKET-KEY:AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"),
    ROW(0, BUT_KEY "Sec-WebSocket-Key: /+++++++++++++++++++/w==\r\n\r\n"),
    ROW(400, BUT_KEY "\r\n"),
    ROW(400, BUT_KEY KEY KEY "\r\n"),
    ROW(400, BUT_KEY "Sec-WebSocket-Key:\r\n\r\n"),
    ROW(400, BUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j\r\n\r\n"),     /* 15 bytes */
    ROW(400, BUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTE=\r\n\r\n"), /* 17 bytes */
    ROW(400, BUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZTEy\r\n\r\n"), /* 18 bytes */
    ROW(400, BUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n\r\n"), /* spare bits */
    ROW(400, BUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=\r\n\r\n"),
    ROW(400, BUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ\r\n\r\n"),
    ROW(400, BUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ===\r\n\r\n"),
    ROW(400, BUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBs SBub25jZQ==\r\n\r\n"),
    ROW(400, BUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXBs_SBub25jZQ==\r\n\r\n"),
    ROW(400, BUT_KEY "Sec-WebSocket-Key: dGhlIHNhbXB=ZSBub25jZQ==\r\n\r\n"),
    ROW(400, BUT_KEY "Sec-WebSocket-Key: not base64 at all, no!!!\r\n\r\n"),

    ROW(0, GOOD "Sec-WebSocket-Protocol: phoenix\r\n\r\n"),
    ROW(0, GOOD "Sec-WebSocket-Protocol: a, b\r\nSec-WebSocket-Protocol: c\r\n\r\n"),
    ROW(0, GOOD "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"),
    ROW(0, GOOD "Sec-WebSocket-Extensions: x; y=1; z\r\nSec-WebSocket-Extensions: x\r\n\r\n"),
    ROW(400, GOOD "Sec-WebSocket-Extensions:\r\n\r\n"),
    ROW(400, GOOD "Sec-WebSocket-Extensions: x; y=\r\n\r\n"),
    ROW(400, GOOD "Sec-WebSocket-Extensions: x\r\nSec-WebSocket-Extensions: ;\r\n\r\n"),
    ROW(400, GOOD "Sec-WebSocket-Protocol:\r\n\r\n"),
    ROW(400, GOOD "Sec-WebSocket-Protocol: a,,b\r\n\r\n"),
    ROW(400, GOOD "Sec-WebSocket-Protocol: a b\r\n\r\n"),
    ROW(400, GOOD "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b,\r\n\r\n"),

    ROW_SERVED(400, 403, GOOD "Origin: http://a.example\r\nOrigin: http://a.example\r\n\r\n"),
    ROW(400, GOOD "Content-Length: 0\r\n\r\n"),
    ROW(400, GOOD "content-length: 5\r\n\r\nhello"),
    ROW(400, GOOD "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ROW(400, GOOD "X: folded\r\n here\r\n\r\n"),
    ROW(400, GOOD "X: folded\r\n\there\r\n\r\n"),
    ROW(400, REQUEST " X: first\r\n" BUT_REQUEST),
    ROW(400, GOOD "X : blank before the colon\r\n\r\n"),
    ROW(400, GOOD "no colon\r\n\r\n"),
    ROW(400, GOOD ": no name\r\n\r\n"),
    ROW(400, GOOD "X(): no token\r\n\r\n"),
    ROW(400, GOOD "X: a\0b\r\n\r\n"),
    ROW(400, GOOD "X\0: a\r\n\r\n"),
    ROW(400, GOOD "X: a\x01\r\n\r\n"),
    ROW(400, GOOD "X: a\x7F\r\n\r\n"),
    ROW(400, GOOD "X: a\rb\r\n\r\n"),
    ROW(400, GOOD "X: a\nY: b\r\n\r\n"),
    ROW(400, GOOD "X: a\r\r\n\r\n"),
    ROW(400, GOOD "\n"),
    ROW(400, GOOD "\r\r\n"),
};
