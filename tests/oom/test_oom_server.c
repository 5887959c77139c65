/* Every allocation of the server fails in turn, at its start and while it answers: whoever asked hears
 * 503 or an event that says so, or is hung up on where there is no memory for a word; the next one is
 * served as ever; and what is left behind, LeakSanitizer finds. (The allocations of the libraries
 * behind ours are theirs: only this program's own objects are wrapped.) */
#include "oom/failing.h"
#include "unit/scratch.h"

#include "server/server.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>

/* ---- a server, and what it is asked ---- */

#define PICTURE                                                                                    \
    "{\"type\":\"image_url\",\"image_url\":{\"url\":"                                              \
    "\"data:image/x-portable-pixmap;base64,UDYgMiAxIDI1NQphYmNkZWY=\"}}"
#define USER(parts)                                                                                \
    "\"messages\":[{\"role\":\"system\",\"content\":\"Be exact.\"},"                               \
    "{\"role\":\"user\",\"content\":[" parts "]}]"
#define TEXT "{\"type\":\"text\",\"text\":\"What is it?\"}"

typedef struct question {
    const char *what, *path, *body; /* body NULL: GET */
} question;

static const char chat_path[] = "/v1/chat/completions";
static const question questions[] = {
    {"a stream", chat_path,
     "{" USER(PICTURE "," TEXT) ",\"stream\":true,\"stream_options\":{\"include_usage\":true},"
                                "\"max_tokens\":3,\"temperature\":1,\"stop\":[\"zz\",\"yy\"]}"},
    {"choices", chat_path,
     "{" USER(TEXT) ",\"n\":2,\"max_tokens\":3,\"logprobs\":true,\"top_logprobs\":2,"
                    "\"skip_special_tokens\":true,\"repetition_penalty\":1.2}"},
    {"choices in a stream", chat_path,
     "{" USER(TEXT) ",\"n\":2,\"max_tokens\":2,\"logprobs\":true,\"stream\":true}"},
    {"a wrong field", chat_path, "{" USER(TEXT) ",\"temperature\":9}"},
    {"ids", "/tokenize", "{\"content\":\"What is it?\"}"},
    {"the model", "/v1/models", NULL},
    {"figures", "/metrics", NULL},
    {"an example", "/examples/none.png", NULL},
    {"the page", "/", NULL},
};
enum { QUESTIONS = sizeof questions / sizeof *questions, REPLY = 1 << 16 };

static void say_nothing(void *user, const char *line) {
    (void)user;
    assert_null(strchr(line, '\n'));
}

static void options_init(vl2_serve_options *o, bool caches) {
    vl2_serve_options_init(o);
    o->model_path = VL2_TEST_GOLDEN "/mini-tiny";
    o->model_name = "mini";
    o->port = 0;
    o->say = say_nothing;
    o->parallel = 2;
    o->queue = 4;
    o->chunk_tokens = 64;
    o->engine.threads = 1;
    o->engine.ctx_tokens = 512;
    o->engine.kv_contexts = 2;
    if (caches) return;
    o->image_cache = 0;
    o->prefixes = 0;
}

/* Asks over a socket of its own, without taking memory; the size of what came back. */
static size_t ask(unsigned port, const question *q, char reply[REPLY]) {
    char head[256];
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t n = 0;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    snprintf(
        head, sizeof head,
        "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
        q->body ? "POST" : "GET", q->path, q->body ? strlen(q->body) : 0);
    bool sent = send(fd, head, strlen(head), MSG_NOSIGNAL) > 0 &&
                (!q->body || send(fd, q->body, strlen(q->body), MSG_NOSIGNAL) > 0);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (sent && n < REPLY - 1) {
        if (poll(&p, 1, 60000) <= 0) fail_msg("%s: no answer within a minute", q->what);
        ssize_t got = recv(fd, reply + n, REPLY - 1 - n, 0);
        if (got <= 0) break;
        n += (size_t)got;
    }
    close(fd);
    reply[n] = '\0';
    return n;
}

static bool ends_with(const char *text, const char *end) {
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

typedef struct tally {
    size_t whole, said, hung_up;
} tally;

/* Is the reply whole, or a clear word about memory? */
static void judge(const question *q, size_t at, const char *reply, const char *expected, tally *t) {
    bool stream = strstr(reply, "text/event-stream") != NULL;
    if (!*reply) {
        t->hung_up++;
    } else if (strncmp(reply, "HTTP/1.1 503", 12) == 0) {
        if (!strstr(reply, "\"error\"") || !strstr(reply, "memory") || !ends_with(reply, "}"))
            fail_msg("%s, allocation %zu: %s", q->what, at, reply);
        t->said++;
    } else if (stream && strstr(reply, "\"error\"")) {
        if (!strstr(reply, "memory") || !strstr(reply, "data: [DONE]"))
            fail_msg("%s, allocation %zu: %s", q->what, at, reply);
        t->said++;
    } else if (stream && !strstr(reply, "data: [DONE]")) {
        t->hung_up++; /* its client sees that the stream has no end */
    } else if (strncmp(reply, expected, 12) != 0) {
        fail_msg("%s, allocation %zu: %s", q->what, at, reply);
    } else {
        t->whole++;
    }
}

/* Until nothing is on its way, what was asked is counted. */
static void settle(const vl2_server *server) {
    for (int i = 0; i < 1000 && vl2_server_is_busy(server); i++) poll(NULL, 0, 1);
    size_t before;
    do {
        before = atomic_load(&n_calls);
        poll(NULL, 0, 2);
    } while (atomic_load(&n_calls) != before);
}

static void sweep(const vl2_server *server, const question *q) {
    static char good[REPLY], reply[REPLY];
    unsigned port = vl2_server_port(server);
    tally t = {0};
    ask(port, q, good); /* what is made once is made */
    settle(server);
    size_t before = atomic_load(&n_calls);
    assert_true(ask(port, q, good) > 0);
    settle(server);
    size_t all = atomic_load(&n_calls) - before;
    assert_true(all > 0);
    for (size_t at = 1; at <= all; at += 1 + at / 100) {
        size_t failed = atomic_load(&n_failed);
        atomic_store(&fail_at, atomic_load(&n_calls) + at);
        ask(port, q, reply);
        settle(server);
        atomic_store(&fail_at, 0);
        if (atomic_load(&n_failed) == failed) continue;
        judge(q, at, reply, good, &t);
        ask(port, q, reply);
        settle(server);
        if (strncmp(reply, good, 12) != 0 || strstr(reply, "out of memory"))
            fail_msg("%s, after allocation %zu failed: %s", q->what, at, reply);
    }
    print_message("%s: %zu allocations; answered all the same %zu, said so %zu, hung up %zu\n",
                  q->what, all, t.whole, t.said, t.hung_up);
    assert_true(t.hung_up <= 2 + (t.said + t.whole) / 4);
}

static void answer_all(bool caches) {
    vl2_serve_options options;
    vl2_server *server = NULL;
    vl2_error err = {0};
    options_init(&options, caches);
    if (vl2_server_start(&server, &options, &err) != VL2_OK) fail_msg("%s", err.text);
    for (size_t i = 0; i < QUESTIONS; i++) sweep(server, &questions[i]);
    vl2_server_stop(server);
}

static void test_answers(void **state) {
    (void)state;
    answer_all(false);
}

static void test_answers_from_caches(void **state) {
    (void)state;
    answer_all(true);
}

static void test_start(void **state) {
    static char reply[REPLY];
    size_t refused = 0, started = 0;
    (void)state;
    for (size_t at = 1;; at += 1 + at / 20) {
        vl2_serve_options options;
        vl2_server *server = NULL;
        vl2_error err = {0};
        options_init(&options, true);
        size_t failed = atomic_load(&n_failed);
        atomic_store(&fail_at, atomic_load(&n_calls) + at);
        vl2_status status = vl2_server_start(&server, &options, &err);
        atomic_store(&fail_at, 0);
        bool done = atomic_load(&n_failed) == failed;
        if (status == VL2_OK) {
            ask(vl2_server_port(server), &questions[0], reply);
            if (strncmp(reply, "HTTP/1.1 200", 12) != 0)
                fail_msg("started without allocation %zu: %s", at, reply);
            vl2_server_stop(server);
            started++;
        } else {
            if (status != VL2_ERR_MEMORY || !strstr(err.text, "memory"))
                fail_msg("allocation %zu: %s: %s", at, vl2_status_text(status), err.text);
            refused++;
        }
        if (done) break;
    }
    print_message("the start: refused %zu times, done all the same %zu times\n", refused, started);
    assert_true(refused > 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_start), cmocka_unit_test(test_answers),
                                       cmocka_unit_test(test_answers_from_caches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
