/* Who is cut off, and when: the watch with a clock of this test's own, on real sockets.
 *
 * Linked with --wrap=vl2_now; the watch looks once a second, so a step of the clock shows within two. */
#include "unit/scratch.h"

#include "base/mem.h"
#include "server/watch.h"

#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

double __wrap_vl2_now(void);

static _Atomic double the_time = 1000;
double __wrap_vl2_now(void) { return the_time; }

static const vl2_serve_options options;

typedef struct line { /* a connection: ours, and the watched one */
    int peer, socket;
    vl2_watched *watched;
} line;

static line add(vl2_watch *watch) {
    int both[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, both), 0);
    return (line){both[0], both[1], vl2_watch_add(watch, both[1])};
}

static void drop(vl2_watch *watch, line *l) {
    vl2_watch_remove(watch, l->watched);
    close(l->peer);
    close(l->socket);
}

static bool is_cut(const line *l, int ms) {
    struct pollfd p = {.fd = l->peer, .events = POLLIN};
    return poll(&p, 1, ms) > 0; /* its end can be read */
}

/* So many seconds pass, and the watch looks. */
static void pass(double seconds) {
    the_time = the_time + seconds;
    poll(NULL, 0, 1300);
}

static vl2_watch *start(void) {
    vl2_watch *watch;
    vl2_error err = {0};
    assert_int_equal(vl2_watch_start(&watch, &err), VL2_OK);
    return watch;
}

static void test_heads_and_bodies(void **state) {
    vl2_watch *watch = start();
    line silent = add(watch), hasty = add(watch), slow = add(watch), steady = add(watch);
    (void)state;
    vl2_watch_body(watch, hasty.watched, 0);
    vl2_watch_body(watch, hasty.watched, (size_t)60 << 20); /* much at once buys no silence */
    vl2_watch_body(watch, slow.watched, 0);
    vl2_watch_body(watch, steady.watched, 0);
    for (int i = 0; i < 5; i++) { /* 50 seconds */
        pass(10);
        vl2_watch_body(watch, slow.watched, 4 << 10);
        vl2_watch_body(watch, steady.watched, 200 << 10);
        if (i == 1) assert_false(is_cut(&silent, 0) || is_cut(&hasty, 0) || is_cut(&slow, 0));
    }
    assert_true(is_cut(&silent, 0) && is_cut(&hasty, 0) && is_cut(&slow, 0));
    assert_false(is_cut(&steady, 0));
    drop(watch, &silent);
    drop(watch, &hasty);
    drop(watch, &slow);
    drop(watch, &steady);
    vl2_watch_stop(watch);
}

static void test_answers(void **state) {
    static const char text[] = "an answer";
    vl2_watch *watch = start();
    vl2_job *going = vl2_job_create(VL2_JOB_CHAT, &options),
            *over = vl2_job_create(VL2_JOB_CHAT, &options);
    line page = add(watch), large = add(watch), waiting = add(watch), unread = add(watch);
    (void)state;
    vl2_watch_body(watch, page.watched, 0);
    vl2_watch_answer(watch, page.watched, 0);
    vl2_watch_body(watch, large.watched, 0);
    vl2_watch_answer(watch, large.watched, 1 << 20); /* 256 seconds more */
    vl2_watch_whole(watch, waiting.watched, going);
    vl2_watch_whole(watch, unread.watched, over);
    vl2_job_send(over, text, sizeof text);
    vl2_job_finish(over);
    pass(0); /* it sees that nothing more comes */
    assert_int_equal(vl2_watch_count(watch), 2);
    pass(59);
    assert_false(is_cut(&page, 0) || is_cut(&unread, 0));
    pass(2);
    assert_true(is_cut(&page, 0) && is_cut(&unread, 0));
    assert_false(is_cut(&large, 0));
    pass(300);
    assert_true(is_cut(&large, 0));
    assert_false(is_cut(&waiting, 0)); /* it has all the time that its job takes */
    vl2_watch_answered(watch, waiting.watched);
    assert_int_equal(vl2_watch_count(watch), 1);
    pass(61);
    assert_true(is_cut(&waiting, 0)); /* and then sent nothing more */
    drop(watch, &page);
    drop(watch, &large);
    drop(watch, &waiting);
    drop(watch, &unread);
    vl2_watch_stop(watch);
    vl2_job_drop(going);
    vl2_job_drop(over);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_heads_and_bodies),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
