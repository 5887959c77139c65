/* Drives a fuzz target where there is no libFuzzer: every file of the corpus, then mutations of
 * them, always the same ones, until their number or the time is used up.
 *
 *     fuzz_x CORPUS-FOLDER [MUTATIONS [SECONDS]]        fuzz_x FILE
 *
 * What was running when the program died is left in crash-input, in the current folder. */
#include "fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_INPUTS = 4096, MAX_SIZE = 1 << 20, MUTATIONS = 20000, SECONDS = 5, MAX_EDITS = 6 };

typedef struct input {
    uint8_t *data;
    size_t size;
} input;

static input inputs[MAX_INPUTS];
static size_t n_inputs;
static const uint8_t *running; /* for the death notice */
static size_t running_size;

/* ---- what was running when it died ------------------------------------------------------------ */

static void leave_crash_input(void) {
    int fd = open("crash-input", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) return;
    ssize_t n = write(fd, running, running_size);
    close(fd);
    static const char notice[] = "the input is in crash-input\n";
    if (n >= 0) n = write(STDERR_FILENO, notice, sizeof notice - 1);
    (void)n;
}

static void on_signal(int number) {
    leave_crash_input();
    signal(number, SIG_DFL);
    raise(number);
}

/* Sanitizers end the program without a signal, but call back. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

static void watch_for_death(void) {
    if (__sanitizer_set_death_callback) {
        __sanitizer_set_death_callback(leave_crash_input);
        return;
    }
    static const int numbers[] = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) signal(numbers[i], on_signal);
}

/* The target gets memory of exactly its input's size, so that a sanitizer sees one byte too many. */
static void run_one(const uint8_t *data, size_t size) {
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact) abort();
    memcpy(exact, data, size);
    running = exact;
    running_size = size;
    alarm(60); /* an endless loop is a finding, too */
    LLVMFuzzerTestOneInput(exact, size);
    alarm(0);
    free(exact);
}

/* ---- the corpus ------------------------------------------------------------------------------- */

static bool add_file(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    uint8_t *data = malloc(MAX_SIZE);
    if (!data) abort();
    size_t size = fread(data, 1, MAX_SIZE, file);
    fclose(file);
    if (n_inputs == MAX_INPUTS) abort();
    inputs[n_inputs++] = (input){data, size};
    return true;
}

static int not_hidden(const struct dirent *entry) { return entry->d_name[0] != '.'; }

static bool add_folder(const char *folder) {
    struct dirent **entries;
    int n = scandir(folder, &entries, not_hidden, alphasort);
    if (n < 0) return false;
    bool ok = true;
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        ok = add_file(path) && ok;
        free(entries[i]);
    }
    free(entries);
    return ok;
}

/* ---- mutations -------------------------------------------------------------------------------- */

static uint64_t next_random(uint64_t *state) { /* splitmix64 */
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(uint64_t *state, size_t n) { return n ? next_random(state) % n : 0; }

/* Puts `with_size` bytes where `cut` bytes at `at` were. */
static void replace(uint8_t *data, size_t *size, size_t at, size_t cut, const void *with,
                    size_t with_size) {
    if (*size - cut + with_size > MAX_SIZE) return;
    memmove(data + at + with_size, data + at + cut, *size - at - cut);
    memcpy(data + at, with, with_size);
    *size = *size - cut + with_size;
}

/* Overwrites the digits of some number of a text by a number that hurts. */
static void hurt_number(uint8_t *data, size_t *size, uint64_t *random) {
    static const char *const numbers[] = {"-1",         "0",
                                          "1",          "2147483648",
                                          "4294967296", "9223372036854775807",
                                          "1e308",      "18446744073709551616",
                                          "null",       "0.5",
                                          "65537",      "\"x\""};
    size_t at = below(random, *size), end;
    while (at < *size && (data[at] < '0' || data[at] > '9')) at++;
    for (end = at; end < *size && data[end] >= '0' && data[end] <= '9';) end++;
    const char *number = numbers[below(random, sizeof numbers / sizeof *numbers)];
    if (at < end) replace(data, size, at, end - at, number, strlen(number));
}

static void edit(uint8_t *data, size_t *size, uint64_t *random) {
    static const char *const words[] = {"{",       "}",        "[",       "]",        "\"",
                                        ":",       ",",        "null",    "<image>",  "\\",
                                        "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "[["};
    size_t at = below(random, *size), room = *size - at, n = 1 + below(random, 16);
    uint8_t bytes[16];
    const input *other;
    switch (below(random, 8)) {
    case 0:
        if (*size) data[at] ^= (uint8_t)(1u << below(random, 8));
        break;
    case 1:
        if (*size) data[at] = (uint8_t)next_random(random);
        break;
    case 2: replace(data, size, at, n < room ? n : room, "", 0); break;
    case 3:
        for (size_t i = 0; i < n; i++) bytes[i] = (uint8_t)next_random(random);
        replace(data, size, at, 0, bytes, n);
        break;
    case 4: hurt_number(data, size, random); break;
    case 5:
        n = below(random, sizeof words / sizeof *words);
        replace(data, size, at, 0, words[n], strlen(words[n]));
        break;
    case 6: *size = at; break;
    default: /* a piece of another input */
        other = &inputs[below(random, n_inputs)];
        n = below(random, other->size);
        replace(data, size, at, 0, other->data + n, below(random, other->size - n));
    }
}

static size_t mutate(size_t count, time_t seconds) {
    uint8_t *data = malloc(MAX_SIZE);
    if (!data) abort();
    time_t until = time(NULL) + seconds;
    size_t i = 0;
    for (; i < count && time(NULL) < until; i++) {
        uint64_t random = i;
        const input *from = &inputs[below(&random, n_inputs)];
        size_t size = from->size;
        memcpy(data, from->data, size);
        for (size_t edits = 1 + below(&random, MAX_EDITS); edits; edits--)
            edit(data, &size, &random);
        run_one(data, size);
    }
    free(data);
    return i;
}

int main(int argc, char **argv) {
    struct stat info;
    if (argc < 2 || stat(argv[1], &info) != 0) {
        fprintf(stderr, "usage: %s CORPUS-FOLDER [MUTATIONS [SECONDS]] | FILE\n", argv[0]);
        return 2;
    }
    bool folder = S_ISDIR(info.st_mode);
    if (!(folder ? add_folder(argv[1]) : add_file(argv[1])) || n_inputs == 0) {
        fprintf(stderr, "%s: nothing to run in %s\n", argv[0], argv[1]);
        return 1;
    }
    watch_for_death();
    for (size_t i = 0; i < n_inputs; i++) run_one(inputs[i].data, inputs[i].size);
    size_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : MUTATIONS;
    time_t seconds = argc > 3 ? (time_t)strtoull(argv[3], NULL, 10) : SECONDS;
    size_t mutations = folder ? mutate(count, seconds) : 0;
    printf("%s: %zu inputs, %zu mutations\n", argv[0], n_inputs, mutations);
    for (size_t i = 0; i < n_inputs; i++) free(inputs[i].data);
    return 0;
}
