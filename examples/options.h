/* examples/options.h - what every example would otherwise repeat: its command line, and serving at
 * --host and --port with the one line that says where. */
#pragma once

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hub/hub.h>

/* One option: with a value, which is a text or a whole number from min to max, or a switch. What
 * `text`, `number` or `given` points to is the default until read_options() replaces it. A table
 * ends with a NULL name. */
struct choice {
    const char *name, *help;
    const char **text;
    unsigned long *number, min, max;
    bool *given;
};

#define CHOICES_MAX 12

static inline void print_help(const char *program, const struct choice *choices)
{
    printf("usage: %s [options]\n", program);
    for (const struct choice *choice = choices; choice->name != NULL; choice++) {
        printf("  --%-12s %s", choice->name, choice->help);
        if (choice->number != NULL)
            printf(" (%lu)\n", *choice->number);
        else if (choice->given != NULL)
            printf("\n");
        else
            printf(" (%s)\n", *choice->text != NULL ? *choice->text : "none");
    }
    printf("  --%-12s this text\n", "help");
}

static inline void read_number(const char *program, const struct choice *choice, const char *value)
{
    char *end = NULL;
    unsigned long number;

    errno = 0;
    number = strtoul(value, &end, 10);
    if (errno != 0 || *value < '0' || *value > '9' || *end != '\0' || number < choice->min ||
        number > choice->max) {
        fprintf(stderr, "%s: --%s '%s': not a whole number from %lu to %lu\n", program,
                choice->name, value, choice->min, choice->max);
        exit(EXIT_FAILURE);
    }
    *choice->number = number;
}

/* Reads the command line into what the table points to. Ends the program with status 0 after
 * --help, and with 1 after naming what is wrong. */
static inline void read_options(int argc, char **argv, const struct choice *choices)
{
    struct option names[CHOICES_MAX + 2] = {{.name = "help"}};
    int found = 0, index = 0;

    for (size_t i = 0; i < CHOICES_MAX && choices[i].name != NULL; i++)
        names[i + 1] =
            (struct option){.name = choices[i].name,
                            .has_arg = choices[i].given != NULL ? no_argument : required_argument};
    while ((found = getopt_long(argc, argv, "", names, &index)) == 0) {
        const struct choice *choice = &choices[index - 1];

        if (index == 0) {
            print_help(argv[0], choices);
            exit(EXIT_SUCCESS);
        }
        if (choice->number != NULL)
            read_number(argv[0], choice, optarg);
        else if (choice->given != NULL)
            *choice->given = true;
        else
            *choice->text = optarg;
    }
    if (found == -1 && optind < argc)
        fprintf(stderr, "%s: unexpected argument '%s'\n", argv[0], argv[optind]);
    if (found != -1 || optind < argc)
        exit(EXIT_FAILURE); /* for an unknown option getopt_long() has said so */
}

/* A value "@FILE" is the first line of that file, as what stands on a command line can be read by
 * everybody on the machine. Ends the program as read_options() does. */
static inline const char *read_secret(const char *program, const char *name, const char *value,
                                      char *line, int size)
{
    FILE *file;

    if (value[0] != '@')
        return value;
    errno = 0;
    file = fopen(value + 1, "re");
    if (file == NULL || fgets(line, size, file) == NULL) {
        fprintf(stderr, "%s: --%s '%s': %s\n", program, name, value,
                errno != 0 ? strerror(errno) : "the file is empty");
        exit(EXIT_FAILURE);
    }
    fclose(file);
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

/* A SIGTERM that comes before hub_server_run() waits for it, and no thread started from here takes
 * it. */
static inline void hold_signals(void)
{
    sigset_t signals;

    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
}

static inline hub_status_t listen_at(hub_server_t *server, const char *host, unsigned long port,
                                     const hub_tls_options_t *tls)
{
    bool is_ipv6 = strchr(host, ':') != NULL;
    char address[300];
    int len = snprintf(address, sizeof(address), "%s%s%s:%lu", is_ipv6 ? "[" : "", host,
                       is_ipv6 ? "]" : "", port);

    if (len >= (int)sizeof(address))
        return HUB_EINVAL;
    return tls != NULL ? hub_server_listen_tls(server, address, tls)
                       : hub_server_listen(server, address);
}

/* Listens, prints the address, and runs until SIGTERM or SIGINT. `tls` NULL: plain. `error` is the
 * one that the server was created with: it says what was wrong. */
static inline hub_status_t serve(hub_server_t *server, const char *program, const char *host,
                                 unsigned long port, const hub_tls_options_t *tls,
                                 const hub_error_t *error)
{
    hub_status_t err = listen_at(server, host, port, tls);

    if (err != HUB_OK) {
        fprintf(stderr, "%s: --host '%s' --port '%lu'", program, host, port);
        if (tls != NULL)
            fprintf(stderr, " --tls-cert '%s' --tls-key '%s'", tls->certificate_file,
                    tls->key_file != NULL ? tls->key_file : "");
        fprintf(stderr, ": %s\n", error->status == err ? error->text : hub_status_text(err));
        return err;
    }
    hold_signals();
    /* connections succeed from here on, and wait in the kernel for the workers to start */
    printf("listening on %s://%s\n", tls != NULL ? "https" : "http", hub_server_address(server, 0));
    fflush(stdout);
    return hub_server_run(server);
}
