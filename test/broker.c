/* SPDX-License-Identifier: MIT */
/* The life of a broker's process, the same for all kinds. Its log is what tells that it accepts: a
 * port that answers might be somebody else's. */
#define _GNU_SOURCE
#include "test/broker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <glob.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "test/broker_kinds.h"
#include "test/port.h"

#define DEADLINE_MS 20000
#define LOOK_MS 3 /* between two looks at a log */
#define ARGS_MAX 16
#define CHILDREN_MAX 256
#define LOG_SHOWN 2000

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void broker_complain(const broker_t *broker, const char *what)
{
    char path[320], tail[LOG_SHOWN + 1];
    size_t size = broker_log_size(broker), len = 0;
    FILE *log;

    snprintf(path, sizeof(path), "%s/log", broker->folder);
    log = fopen(path, "re");
    if (log != NULL) {
        if (size > LOG_SHOWN)
            fseek(log, (long)(size - LOG_SHOWN), SEEK_SET);
        len = fread(tail, 1, LOG_SHOWN, log);
        fclose(log);
    }
    fprintf(stderr, "broker %s on port %u: %s; its log:\n%.*s\n", broker->trade->name, broker->port,
            what, (int)len, tail);
}

/* ---- programs ---- */

static char *find_in(const char *folders, const char *program)
{
    char *all = strdup(folders), *rest = all, *folder, *path;

    while ((folder = strsep(&rest, ":")) != NULL) {
        if (asprintf(&path, "%s/%s", folder, program) < 0)
            abort();
        if (access(path, X_OK) == 0) {
            free(all);
            return path;
        }
        free(path);
    }
    free(all);
    return NULL;
}

/* Debian keeps the servers of each major version apart, out of every PATH. */
static char *find_postgres(void)
{
    char *path = NULL;
    glob_t found;

    if (glob("/usr/lib/postgresql/*/bin/postgres", 0, NULL, &found) == 0)
        path = strdup(found.gl_pathv[found.gl_pathc - 1]);
    globfree(&found);
    return path;
}

char *broker_find_program(broker_kind_t kind)
{
    const char *program = broker_trades[kind].program, *from = getenv("PATH");
    char *path = kind == BROKER_POSTGRES ? find_postgres() : NULL;

    if (path == NULL && from != NULL)
        path = find_in(from, program);
    return path != NULL ? path
                        : find_in("/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin", program);
}

const char *broker_name(broker_kind_t kind)
{
    return broker_trades[kind].name;
}

const char *broker_missing(broker_kind_t kind)
{
    char *path = broker_find_program(kind);
    bool found = path != NULL;

    free(path);
    return found ? NULL : broker_trades[kind].package;
}

void broker_need(broker_kind_t kind)
{
    const char *package = broker_missing(kind), *required = getenv("SOCKETHUB_BROKERS_REQUIRED");

    if (package == NULL)
        return;
    print_message("%s is not here: apt-get install %s\n", broker_trades[kind].program, package);
    if (required != NULL && strcmp(required, "1") == 0)
        fail();
    skip();
}

static void need_redis(void **state)
{
    (void)state;
    broker_need(BROKER_REDIS);
}

static void need_nats(void **state)
{
    (void)state;
    broker_need(BROKER_NATS);
}

static void need_postgres(void **state)
{
    (void)state;
    broker_need(BROKER_POSTGRES);
}

void broker_need_for(broker_kind_t kind, struct CMUnitTest *tests, size_t count)
{
    static const CMUnitTestFunction need[] = {need_redis, need_nats, need_postgres};

    if (broker_missing(kind) == NULL)
        return;
    for (size_t i = 0; i < count; i++) {
        tests[i].test_func = need[kind];
        tests[i].setup_func = NULL;
        tests[i].teardown_func = NULL;
    }
}

/* ---- processes ---- */

struct who {
    uid_t uid;
    gid_t gid;
    bool other; /* than who we are */
};

static struct who runs_as(const broker_t *broker)
{
    struct passwd *user;

    if (!broker->trade->unprivileged || geteuid() != 0)
        return (struct who){.other = false};
    user = getpwnam(broker->trade->name);
    if (user == NULL) {
        fprintf(stderr, "broker %s: no user of that name\n", broker->trade->name);
        return (struct who){.other = false};
    }
    return (struct who){.uid = user->pw_uid, .gid = user->pw_gid, .other = true};
}

/* In the child. A change of the user takes the signal back, so that comes first. */
static void become(const broker_t *broker, const char *const *argv, struct who who, pid_t parent)
{
    char *const *args;
    sigset_t none;

    memcpy(&args, &argv, sizeof(args)); /* execv() changes nothing there */
    if (who.other && (setgroups(1, &who.gid) != 0 || setgid(who.gid) != 0 || setuid(who.uid) != 0))
        _exit(126);
    prctl(PR_SET_PDEATHSIG, broker->trade->end_signal);
    if (getppid() != parent || chdir(broker->folder) != 0)
        _exit(126);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
    execv(argv[0], args);
    _exit(127);
}

static pid_t spawn(const broker_t *broker, const char *const *argv, bool as_broker, int in, int out,
                   int err)
{
    struct who who = as_broker ? runs_as(broker) : (struct who){.other = false};
    pid_t parent = getpid(), pid = fork();

    if (pid == 0) {
        dup2(in, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(err, STDERR_FILENO);
        setpgid(0, 0);
        become(broker, argv, who, parent);
    }
    return pid;
}

static int reap(pid_t pid)
{
    int status = -1;

    while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
        ;
    return status;
}

/* All of the file, owned by the caller (free). */
static char *read_all(FILE *file)
{
    long size = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : 0;
    char *text = malloc((size_t)size + 1);

    if (text == NULL)
        abort();
    rewind(file);
    text[fread(text, 1, (size_t)size, file)] = '\0';
    return text;
}

char *broker_run(const broker_t *broker, const char *const *argv, bool as_broker, const char *input)
{
    FILE *in = tmpfile(), *out = tmpfile();
    char *text;
    pid_t pid;
    bool done;

    if (in == NULL || out == NULL)
        abort();
    fputs(input == NULL ? "" : input, in);
    rewind(in);
    pid = spawn(broker, argv, as_broker, fileno(in), fileno(out), fileno(out));
    done = pid > 0 && reap(pid) == 0;
    text = read_all(out);
    fclose(in);
    fclose(out);
    if (done)
        return text;
    fprintf(stderr, "%s failed:\n%s", argv[0], text);
    free(text);
    return NULL;
}

/* The processes whose parent is `pid`. */
static size_t children_of(pid_t pid, pid_t *ret_children)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    size_t count = 0;

    while (proc != NULL && count < CHILDREN_MAX && (entry = readdir(proc)) != NULL) {
        pid_t child = (pid_t)atoi(entry->d_name);
        char path[64], line[512] = "", *rest;
        int parent = 0;
        FILE *stat;

        snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
        if (child <= 0 || (stat = fopen(path, "re")) == NULL)
            continue;
        rest = fgets(line, sizeof(line), stat) == NULL ? NULL : strrchr(line, ')');
        if (rest != NULL && sscanf(rest + 1, " %*c %d", &parent) == 1 && parent == pid)
            ret_children[count++] = child;
        fclose(stat);
    }
    if (proc != NULL)
        closedir(proc);
    return count;
}

/* Sends SIGKILL and waits until it is gone, whosever child it is. */
static void kill_and_wait(pid_t pid)
{
    struct pollfd gone = {.fd = pidfd_open(pid, 0), .events = POLLIN};

    if (gone.fd == -1)
        return;
    kill(pid, SIGKILL);
    poll(&gone, 1, DEADLINE_MS);
    close(gone.fd);
}

/* ---- the log ---- */

size_t broker_log_size(const broker_t *broker)
{
    char path[320];
    struct stat log;

    snprintf(path, sizeof(path), "%s/log", broker->folder);
    return stat(path, &log) == 0 ? (size_t)log.st_size : 0;
}

static bool log_has(const broker_t *broker, const char *line, size_t from)
{
    char path[320], *text;
    FILE *log;
    bool has;

    snprintf(path, sizeof(path), "%s/log", broker->folder);
    if ((log = fopen(path, "re")) == NULL)
        return false;
    text = read_all(log);
    has = strlen(text) >= from && strstr(text + from, line) != NULL;
    free(text);
    fclose(log);
    return has;
}

bool broker_await_line(broker_t *broker, const char *line, size_t from)
{
    struct pollfd gone = {.fd = pidfd_open(broker->pid, 0), .events = POLLIN};
    uint64_t deadline = now_ms() + DEADLINE_MS;
    bool has = false, alive = true;

    while (alive && !(has = log_has(broker, line, from)) && now_ms() < deadline)
        alive = poll(&gone, 1, LOOK_MS) == 0;
    close(gone.fd);
    return has;
}

bool broker_write_file(const broker_t *broker, const char *name, const char *text)
{
    char path[320];
    FILE *file;
    bool written;

    snprintf(path, sizeof(path), "%s/%s", broker->folder, name);
    if ((file = fopen(path, "we")) == NULL)
        return false;
    written = fputs(text, file) >= 0;
    return fclose(file) == 0 && written;
}

/* ---- the folder ---- */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info, (void)kind, (void)at;
    return remove(path);
}

static void remove_folder(const broker_t *broker)
{
    nftw(broker->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Sockets lie in it, whose paths have to be short. */
static bool make_folder(broker_t *broker)
{
    const char *parent = getenv("TMPDIR");
    struct who who = runs_as(broker);

    if (parent == NULL || strlen(parent) > 60)
        parent = "/tmp";
    snprintf(broker->folder, sizeof(broker->folder), "%s/sockethub-%s-XXXXXX", parent,
             broker->trade->name);
    if (mkdtemp(broker->folder) == NULL) {
        fprintf(stderr, "broker: %s: %s\n", broker->folder, strerror(errno));
        return false;
    }
    return !who.other || chown(broker->folder, who.uid, who.gid) == 0;
}

/* ---- life ---- */

static bool run(broker_t *broker)
{
    const char *argv[ARGS_MAX] = {broker->program};
    char room[320];
    size_t from = broker_log_size(broker);
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC), log;

    snprintf(room, sizeof(room), "%s/log", broker->folder);
    log = open(room, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    broker->trade->arguments(broker, argv + 1, room, sizeof(room));
    broker->pid = spawn(broker, argv, true, nothing, log, log);
    close(nothing);
    close(log);
    if (broker->pid > 0 && broker_await_line(broker, broker->trade->ready, from)) {
        broker->killed = false;
        return true;
    }
    broker_complain(broker, "did not start");
    broker_kill(broker);
    return false;
}

/* With a port of its own, which somebody may take all the same before it does. */
static bool start_somewhere(broker_t *broker)
{
    for (int i = 0; i < 3; i++) {
        broker->port_fd = port_claim(&broker->port);
        if (broker->port_fd == -1)
            return false;
        if (broker->trade->prepare(broker, true) && run(broker))
            return true;
        close(broker->port_fd);
        broker->port_fd = -1;
    }
    return false;
}

broker_t *broker_start(broker_kind_t kind, const broker_options_t *options)
{
    broker_t *broker = calloc(1, sizeof(*broker));
    hub__buffer_t lines = {0};
    char *url;

    if (broker == NULL)
        abort();
    broker->trade = &broker_trades[kind];
    broker->kind = kind;
    broker->port_fd = -1;
    broker->password = options != NULL && options->password;
    broker->bare = options != NULL && options->bare;
    for (size_t i = 0; options != NULL && options->config != NULL && options->config[i]; i++)
        hub__buffer_printf(&lines, "%s\n", options->config[i]);
    broker->config = strdup(lines.len == 0 ? "" : lines.base);
    hub__buffer_dispose(&lines);
    broker->program = broker_find_program(kind);
    if (broker->program == NULL) {
        fprintf(stderr, "broker %s: apt-get install %s\n", broker->trade->name,
                broker->trade->package);
    } else if (make_folder(broker) && start_somewhere(broker)) {
        url = broker_url_at(broker, broker->port);
        snprintf(broker->url, sizeof(broker->url), "%s", url);
        free(url);
        return broker;
    }
    broker_stop(broker);
    return NULL;
}

static void end_quickly(broker_t *broker)
{
    struct pollfd gone = {.fd = pidfd_open(broker->pid, 0), .events = POLLIN};

    broker_continue(broker);
    kill(broker->pid, broker->trade->end_signal);
    if (poll(&gone, 1, DEADLINE_MS) == 1) {
        reap(broker->pid);
        broker->pid = 0;
    }
    close(gone.fd);
    broker_kill(broker);
}

void broker_stop(broker_t *broker)
{
    if (broker == NULL)
        return;
    if (broker->pid > 0)
        end_quickly(broker);
    if (broker->killed && broker->trade->forget != NULL)
        broker->trade->forget(broker);
    if (broker->folder[0] != '\0')
        remove_folder(broker);
    if (broker->port_fd != -1)
        close(broker->port_fd);
    free(broker->program);
    free(broker->config);
    free(broker);
}

char *broker_url_at(const broker_t *broker, unsigned port)
{
    const char *user = broker->password                  ? BROKER_USER ":" BROKER_PASSWORD "@"
                       : broker->kind == BROKER_POSTGRES ? BROKER_USER "@"
                                                         : "";
    char *url;

    if (asprintf(&url, "%s://%s127.0.0.1:%u%s", broker->trade->scheme, user, port,
                 broker->trade->path) < 0)
        abort();
    return url;
}

const char *broker_url(const broker_t *broker)
{
    return broker->url;
}

unsigned broker_port(const broker_t *broker)
{
    return broker->port;
}

pid_t broker_pid(const broker_t *broker)
{
    return broker->pid;
}

const char *broker_folder(const broker_t *broker)
{
    return broker->folder;
}

void broker_kill(broker_t *broker)
{
    pid_t children[CHILDREN_MAX];
    size_t count;

    if (broker->pid <= 0)
        return;
    kill(broker->pid, SIGSTOP); /* so that it makes no more of them */
    count = children_of(broker->pid, children);
    kill(broker->pid, SIGKILL);
    for (size_t i = 0; i < count; i++)
        kill_and_wait(children[i]);
    reap(broker->pid);
    broker->pid = 0;
    broker->killed = true;
}

/* A child may be made until its parent stands still, and that takes the signal a moment. */
void broker_pause(broker_t *broker)
{
    pid_t children[CHILDREN_MAX];
    size_t count;

    kill(broker->pid, SIGSTOP);
    waitpid(broker->pid, NULL, WUNTRACED);
    count = children_of(broker->pid, children);
    for (size_t i = 0; i < count; i++)
        kill(children[i], SIGSTOP);
}

void broker_continue(broker_t *broker)
{
    pid_t children[CHILDREN_MAX];
    size_t count = children_of(broker->pid, children);

    for (size_t i = 0; i < count; i++)
        kill(children[i], SIGCONT);
    kill(broker->pid, SIGCONT);
}

bool broker_restart(broker_t *broker, bool empty)
{
    if (broker->pid > 0)
        end_quickly(broker);
    broker->revoked = false;
    return broker->trade->prepare(broker, empty) && run(broker);
}

void broker_make_bare(broker_t *broker, bool bare)
{
    broker->bare = bare;
}

bool broker_revoke(broker_t *broker)
{
    broker->revoked = true;
    return broker->password && broker->trade->allow(broker, false);
}

bool broker_grant(broker_t *broker)
{
    broker->revoked = false;
    return broker->password && broker->trade->allow(broker, true);
}

char *broker_admin(broker_t *broker, const char *command)
{
    return broker->trade->admin == NULL ? NULL : broker->trade->admin(broker, command);
}

char *broker_ask(broker_t *broker, const char *command)
{
    char *answer = broker_admin(broker, command);

    assert_non_null(answer);
    return answer;
}
