/* SPDX-License-Identifier: MIT */
/* How each broker is set up: nothing is kept on a disk longer than it must, nobody but this machine
 * reaches it, and the user of the tests can be shut out. PostgreSQL takes seconds to make the files
 * of its first start, so those are made once for a build and copied. */
#define _GNU_SOURCE
#include "test/broker_kinds.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "test/port.h"

#define ADMIN "admin"
#define ADMIN_PASSWORD "admins-own"
#define ADMIN_LIMIT_S 5 /* for each read and write */

/* One argument: the path of a file in the folder. */
static void path_in(const broker_t *broker, const char *name, char *ret_path, size_t size)
{
    snprintf(ret_path, size, "%s/%s", broker->folder, name);
}

/* ---- redis ---- */

static bool redis_prepare(broker_t *broker, bool fresh)
{
    hub__buffer_t text = {0};
    bool written;

    (void)fresh; /* it keeps nothing */
    hub__buffer_printf(&text,
                       "bind 127.0.0.1\nport %u\nunixsocket %s/redis.sock\nunixsocketperm 700\n"
                       "dir %s\nsave \"\"\nappendonly no\ndaemonize no\n",
                       broker->port, broker->folder, broker->folder);
    if (broker->password)
        hub__buffer_printf(&text,
                           "user default off\nuser %s on >%s ~* &* +@all\n"
                           "user %s on >%s ~* &* +@all\n",
                           BROKER_USER, BROKER_PASSWORD, ADMIN, ADMIN_PASSWORD);
    hub__buffer_printf(&text, "%s", broker->config);
    written = broker_write_file(broker, "redis.conf", text.base);
    hub__buffer_dispose(&text);
    return written;
}

static void redis_arguments(const broker_t *broker, const char **argv, char *ret_path, size_t size)
{
    path_in(broker, "redis.conf", ret_path, size);
    argv[0] = ret_path;
    argv[1] = NULL;
}

/* QUIT makes it close behind its answers, so what comes until then is all of them. */
static char *redis_admin(broker_t *broker, const char *command)
{
    hub__buffer_t text = {0};
    char *answer, *line;
    int fd = port_dial(broker->port, ADMIN_LIMIT_S);
    ssize_t got;

    if (fd == -1)
        return NULL;
    if (broker->password)
        hub__buffer_printf(&text, "AUTH %s %s\r\n", ADMIN, ADMIN_PASSWORD);
    hub__buffer_printf(&text, "%s\r\nQUIT\r\n", command);
    if (send(fd, text.base, text.len, MSG_NOSIGNAL) != (ssize_t)text.len)
        shutdown(fd, SHUT_RD);
    hub__buffer_dispose(&text);
    do {
        hub__buffer_reserve(&text, 4096);
        got = recv(fd, text.base + text.len, 4095, 0);
        text.len += got > 0 ? (size_t)got : 0;
        text.base[text.len] = '\0';
    } while (got > 0);
    close(fd);
    line = broker->password ? strstr(text.base, "\r\n") : NULL; /* behind the answer to AUTH */
    line = line == NULL ? text.base : line + 2;
    answer = line[0] == '-' || line[0] == '\0' ? NULL : strdup(line);
    if (answer == NULL)
        fprintf(stderr, "broker redis: %s: %s\n", command, line);
    hub__buffer_dispose(&text);
    return answer;
}

static bool redis_allow(broker_t *broker, bool allowed)
{
    char *answer = redis_admin(broker, allowed ? "ACL SETUSER " BROKER_USER " on"
                                               : "ACL SETUSER " BROKER_USER " off");
    bool done = answer != NULL;

    free(answer);
    if (done && !allowed) {
        answer = redis_admin(broker, "CLIENT KILL USER " BROKER_USER);
        done = answer != NULL;
        free(answer);
    }
    return done;
}

/* ---- nats ---- */

static bool nats_prepare(broker_t *broker, bool fresh)
{
    hub__buffer_t text = {0};
    bool written;

    (void)fresh; /* it keeps nothing: no stream of ours is on a disk */
    hub__buffer_printf(&text, "host: 127.0.0.1\nport: %u\n", broker->port);
    if (!broker->bare)
        hub__buffer_printf(&text, "jetstream { store_dir: \"%s\" }\n", broker->folder);
    if (broker->password)
        hub__buffer_printf(&text, "authorization { user: %s, password: \"%s\" }\n",
                           broker->revoked ? "nobody" : BROKER_USER, BROKER_PASSWORD);
    hub__buffer_printf(&text, "%s", broker->config);
    written = broker_write_file(broker, "nats.conf", text.base);
    hub__buffer_dispose(&text);
    return written;
}

static void nats_arguments(const broker_t *broker, const char **argv, char *ret_path, size_t size)
{
    path_in(broker, "nats.conf", ret_path, size);
    argv[0] = "-c";
    argv[1] = ret_path;
    argv[2] = NULL;
}

/* Reading its configuration again, it ends the connections of who is not in there any more. */
static bool nats_allow(broker_t *broker, bool allowed)
{
    size_t from = broker_log_size(broker);

    (void)allowed; /* `revoked` says it */
    return nats_prepare(broker, false) && kill(broker->pid, SIGHUP) == 0 &&
           broker_await_line(broker, "Reloaded server configuration", from);
}

/* ---- postgres ---- */

/* The folder of its programs, such as /usr/lib/postgresql/15/bin. */
static void postgres_bin(const broker_t *broker, const char *name, char *ret_path, size_t size)
{
    const char *end = strrchr(broker->program, '/');

    snprintf(ret_path, size, "%.*s/%s", (int)(end - broker->program), broker->program, name);
}

static bool run_quietly(const broker_t *broker, const char *const *argv, bool as_broker,
                        const char *input)
{
    char *said = broker_run(broker, argv, as_broker, input);

    free(said);
    return said != NULL;
}

static bool copy_tree(const broker_t *broker, const char *from, const char *to)
{
    return run_quietly(broker,
                       (const char *const[]){"/bin/cp", "-a", "--reflink=auto", from, to, NULL},
                       false, NULL);
}

static bool remove_tree(const broker_t *broker, const char *path)
{
    return run_quietly(broker, (const char *const[]){"/bin/rm", "-rf", path, NULL}, false, NULL);
}

/* In the broker's folder. */
static bool make_cluster(const broker_t *broker)
{
    static const char *const sql = "CREATE ROLE " BROKER_USER " LOGIN PASSWORD '" BROKER_PASSWORD
                                   "'\nALTER DATABASE postgres OWNER TO " BROKER_USER
                                   "\nALTER DATABASE postgres RENAME TO " BROKER_USER "\n";
    char initdb[300], data[300];

    postgres_bin(broker, "initdb", initdb, sizeof(initdb));
    path_in(broker, "data", data, sizeof(data));
    return run_quietly(broker,
                       (const char *const[]){initdb, "-D", data, "-U", "postgres", "--auth=trust",
                                             "-E", "UTF8", "--locale=C", "--no-sync",
                                             "--wal-segsize=1", NULL},
                       true, NULL) &&
           run_quietly(broker,
                       (const char *const[]){broker->program, "--single", "-F", "-D", data,
                                             "template1", NULL},
                       true, sql);
}

/* Under the lock. It appears by a rename, so it is never half made. */
static bool make_template(const broker_t *broker, const char *place)
{
    char data[300], fresh[400];

    if (access(place, F_OK) == 0)
        return true;
    path_in(broker, "data", data, sizeof(data));
    snprintf(fresh, sizeof(fresh), "%s.new", place);
    return make_cluster(broker) && remove_tree(broker, fresh) && copy_tree(broker, data, fresh) &&
           rename(fresh, place) == 0 && remove_tree(broker, data);
}

/* One for each release of the server: their files differ. */
static bool copy_template(const broker_t *broker)
{
    char place[300], lock_path[320], data[300], *said;
    int lock;
    bool made;

    said =
        broker_run(broker, (const char *const[]){broker->program, "--version", NULL}, false, NULL);
    if (said == NULL)
        return false;
    snprintf(place, sizeof(place), "%s/postgres-template-%d", BROKER_BUILD,
             atoi(said + strcspn(said, "0123456789")));
    free(said);
    snprintf(lock_path, sizeof(lock_path), "%s.lock", place);
    lock = open(lock_path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (lock == -1 || flock(lock, LOCK_EX) != 0) {
        fprintf(stderr, "broker postgres: cannot lock %s\n", lock_path);
        return false;
    }
    made = make_template(broker, place);
    close(lock);
    path_in(broker, "data", data, sizeof(data));
    return made && remove_tree(broker, data) && copy_tree(broker, place, data);
}

static bool postgres_prepare(broker_t *broker, bool fresh)
{
    hub__buffer_t text = {0}, hba = {0};
    bool written;

    if (fresh && !copy_template(broker))
        return false;
    hub__buffer_printf(&text,
                       "listen_addresses = '127.0.0.1'\nport = %u\n"
                       "unix_socket_directories = '%s'\nfsync = off\nsynchronous_commit = off\n"
                       "full_page_writes = off\nshared_buffers = 4MB\nmax_connections = 40\n"
                       "dynamic_shared_memory_type = mmap\nlogging_collector = off\n"
                       "log_timezone = UTC\ntimezone = UTC\nautovacuum_naptime = 10\n%s",
                       broker->port, broker->folder, broker->config);
    hub__buffer_printf(&hba, "local all postgres trust\nhost all " BROKER_USER " 127.0.0.1/32 %s\n",
                       broker->password ? "scram-sha-256" : "trust");
    written = broker_write_file(broker, "data/postgresql.conf", text.base) &&
              broker_write_file(broker, "data/pg_hba.conf", hba.base);
    hub__buffer_dispose(&text);
    hub__buffer_dispose(&hba);
    return written;
}

static void postgres_arguments(const broker_t *broker, const char **argv, char *ret_path,
                               size_t size)
{
    path_in(broker, "data", ret_path, size);
    argv[0] = "-D";
    argv[1] = ret_path;
    argv[2] = NULL;
}

static char *postgres_admin(broker_t *broker, const char *command)
{
    char psql[300], port[16];

    postgres_bin(broker, "psql", psql, sizeof(psql));
    snprintf(port, sizeof(port), "%u", broker->port);
    return broker_run(broker,
                      (const char *const[]){psql, "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                                            "-h", broker->folder, "-p", port, "-U", "postgres",
                                            "-d", BROKER_USER, NULL},
                      false, command);
}

static bool postgres_allow(broker_t *broker, bool allowed)
{
    char *said = postgres_admin(
        broker, allowed ? "ALTER ROLE " BROKER_USER " LOGIN"
                        : "ALTER ROLE " BROKER_USER " NOLOGIN; "
                          "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                          "WHERE usename = '" BROKER_USER "'");

    free(said);
    return said != NULL;
}

/* Killed, it leaves a small piece of shared memory to its next start; when there is none: */
static void postgres_forget(const broker_t *broker)
{
    char path[300], line[128];
    int id = -1;
    FILE *file;

    path_in(broker, "data/postmaster.pid", path, sizeof(path));
    if ((file = fopen(path, "re")) == NULL)
        return;
    for (int i = 1; i <= 7 && fgets(line, sizeof(line), file) != NULL; i++) {
        if (i == 7 && sscanf(line, "%*u %d", &id) == 1)
            shmctl(id, IPC_RMID, NULL);
    }
    fclose(file);
}

const broker_trade_t broker_trades[BROKER_KINDS] = {
    [BROKER_REDIS] =
        {
            .name = "redis",
            .scheme = "redis",
            .path = "",
            .program = "redis-server",
            .package = "redis-server",
            .ready = "Ready to accept connections",
            .prepare = redis_prepare,
            .arguments = redis_arguments,
            .allow = redis_allow,
            .admin = redis_admin,
            .end_signal = SIGKILL,
        },
    [BROKER_NATS] =
        {
            .name = "nats",
            .scheme = "nats",
            .path = "",
            .program = "nats-server",
            .package = "nats-server",
            .ready = "Server is ready",
            .prepare = nats_prepare,
            .arguments = nats_arguments,
            .allow = nats_allow,
            .end_signal = SIGKILL,
        },
    [BROKER_POSTGRES] =
        {
            .name = "postgres",
            .scheme = "postgres",
            .path = "/" BROKER_USER,
            .program = "postgres",
            .package = "postgresql-15",
            .ready = "ready to accept connections",
            .prepare = postgres_prepare,
            .arguments = postgres_arguments,
            .allow = postgres_allow,
            .admin = postgres_admin,
            .forget = postgres_forget,
            .unprivileged = true,
            .end_signal = SIGQUIT,
        },
};
