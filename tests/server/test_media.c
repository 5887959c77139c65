#define _GNU_SOURCE /* renameat2, in swapper.h */
/* Where a picture may come from: addresses nobody is sent to, redirects there, sizes, times, files.
 *
 * The web is a server of this test's own. Its 127.0.0.1 passes as public here and 127.0.0.2 as
 * private, by the seam that media.h gives; which addresses really are private is tested apart. */
#include "unit/swapper.h"

#include "server/media.h"

#include "base/mem.h"

#include <arpa/inet.h>
#include <microhttpd.h>

/* A 1x1 PNM. */
static const char PICTURE[] = "P6 1 1 255\nabc";
enum { PICTURE_SIZE = sizeof PICTURE - 1 };

/* ---- addresses ---- */

static bool is_private(const char *text) {
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    if (inet_pton(AF_INET, text, &v4.sin_addr) == 1) return vl2_media_address_is_private(&v4);
    assert_int_equal(inet_pton(AF_INET6, text, &v6.sin6_addr), 1);
    return vl2_media_address_is_private(&v6);
}

static void test_private_addresses(void **state) {
    static const char *const closed[] = {"0.0.0.0",
                                         "10.1.2.3",
                                         "100.64.0.1",
                                         "127.0.0.1",
                                         "127.255.255.255",
                                         "169.254.169.254",
                                         "172.16.0.1",
                                         "172.31.255.255",
                                         "192.0.0.1",
                                         "192.168.1.1",
                                         "198.18.0.1",
                                         "224.0.0.1",
                                         "240.0.0.1",
                                         "255.255.255.255",
                                         "::",
                                         "::1",
                                         "::7f00:1",
                                         "::ffff:127.0.0.1",
                                         "::ffff:10.0.0.1",
                                         "::ffff:169.254.169.254",
                                         "64:ff9b::7f00:1",
                                         "64:ff9b::a00:1",
                                         "64:ff9b:1::1",
                                         "2002:7f00:1::",
                                         "2001:0:1::1",
                                         "2001:db8::1",
                                         "fc00::1",
                                         "fd12::1",
                                         "fe80::1",
                                         "fec0::1",
                                         "ff02::1",
                                         "100::1"};
    static const char *const open[] = {"1.1.1.1",        "9.255.255.255",  "11.0.0.1",
                                       "100.63.255.255", "100.128.0.1",    "126.255.255.255",
                                       "128.0.0.1",      "172.15.255.255", "172.32.0.1",
                                       "192.167.0.1",    "192.169.0.1",    "223.255.255.255",
                                       "2606:4700::1",   "::ffff:8.8.8.8", "64:ff9b::808:808"};
    (void)state;
    for (size_t i = 0; i < sizeof closed / sizeof *closed; i++)
        if (!is_private(closed[i])) fail_msg("%s passes as public", closed[i]);
    for (size_t i = 0; i < sizeof open / sizeof *open; i++)
        if (is_private(open[i])) fail_msg("%s passes as private", open[i]);
    struct sockaddr local = {.sa_family = AF_UNIX};
    assert_true(vl2_media_address_is_private(&local));
}

/* ---- base64 ---- */

static void base64(const char *text, const char *bytes) { /* NULL: refused */
    vl2_buf out = {0};
    vl2_error err = {0};
    vl2_status status = vl2_media_base64(&out, text, strlen(text), &err);
    if (!bytes) {
        assert_int_not_equal(status, VL2_OK);
        assert_non_null(strstr(err.text, "base64"));
    } else {
        assert_int_equal(status, VL2_OK);
        assert_int_equal(out.size, strlen(bytes));
        assert_memory_equal(out.data, bytes, out.size);
    }
    vl2_buf_free(&out);
}

static void test_base64(void **state) {
    (void)state;
    base64("", "");
    base64("aGVsbG8=", "hello");
    base64("aGVsbG8", "hello");
    base64("aGVsbG8h", "hello!");
    base64("Pz8_Pj4-", "?\?\?>>>");
    base64("Pz8/Pj4+", "?\?\?>>>");
    base64("a", NULL);
    base64("aGVs bG8=", NULL);
    base64("aG=sbG8=", NULL);
    base64("aGVsbG8===", NULL);
    base64("aGVs\nbG8=", NULL);
    base64("\xff\xff\xff\xff", NULL);
}

/* ---- the web ---- */

typedef struct web {
    struct MHD_Daemon *daemon;
    unsigned port;
} web;

static enum MHD_Result redirect(struct MHD_Connection *connection, const char *to) {
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(response, "Location", to);
    enum MHD_Result result = MHD_queue_response(connection, 302, response);
    MHD_destroy_response(response);
    return result;
}

static ssize_t endless(void *user, uint64_t position, char *out, size_t room) {
    (void)user;
    if (position == 0) memcpy(out, PICTURE, PICTURE_SIZE);
    return (ssize_t)room;
}

static ssize_t stuck(void *user, uint64_t position, char *out, size_t room) {
    (void)user, (void)position, (void)out, (void)room;
    usleep(20000);
    return 0;
}

static enum MHD_Result serve(void *user, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *data,
                             size_t *size, void **state) {
    web *w = user;
    char to[64];
    (void)method, (void)version, (void)data, (void)size, (void)state;
    snprintf(to, sizeof to, "http://127.0.0.2:%u/picture", w->port);
    if (!strcmp(url, "/to-private")) return redirect(connection, to);
    if (!strcmp(url, "/to-file")) return redirect(connection, "file:///etc/hostname");
    if (!strcmp(url, "/loop")) return redirect(connection, "/loop");
    if (!strcmp(url, "/twice")) return redirect(connection, "/once");
    if (!strcmp(url, "/once")) return redirect(connection, "/picture");
    struct MHD_Response *response =
        !strcmp(url, "/endless") || !strcmp(url, "/stuck")
            ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 4096,
                                                url[1] == 'e' ? endless : stuck, NULL, NULL)
            : MHD_create_response_from_buffer(PICTURE_SIZE, (void *)(uintptr_t)PICTURE,
                                              MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result =
        MHD_queue_response(connection, strcmp(url, "/gone") ? 200 : 404, response);
    MHD_destroy_response(response);
    return result;
}

static bool only_second_is_private(const void *address) {
    struct sockaddr_in v4;
    memcpy(&v4, address, sizeof v4);
    return v4.sin_family != AF_INET || ntohl(v4.sin_addr.s_addr) == 0x7f000002;
}

static int start(void **state) {
    web *w = test_calloc(1, sizeof *w);
    w->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION, 0,
                                 NULL, NULL, serve, w, MHD_OPTION_END);
    assert_non_null(w->daemon);
    w->port = MHD_get_daemon_info(w->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    assert_int_equal(vl2_media_init(NULL), VL2_OK);
    *state = w;
    return 0;
}

static int stop(void **state) {
    web *w = *state;
    MHD_stop_daemon(w->daemon);
    test_free(w);
    return 0;
}

static void fetch(const web *w, const char *host, const char *path, double seconds,
                  bool (*private_)(const void *), const char *error) {
    char url[128];
    vl2_picture *picture = NULL;
    vl2_error err = {0};
    vl2_request_limits limits = {
        .allow_remote = true, .is_private = private_, .remote_until = vl2_now() + seconds};
    vl2_picture_options_init(&limits.picture);
    limits.picture.max_file_bytes = 100000;
    snprintf(url, sizeof url, "http://%s:%u%s", host, w->port, path);
    vl2_status status = vl2_media_open(&picture, url, strlen(url), &limits, &err);
    if (!error) {
        if (status != VL2_OK) fail_msg("%s: %s", url, err.text);
        assert_int_equal(vl2_picture_width(picture), 1);
    } else if (status == VL2_OK || !strstr(err.text, error)) {
        fail_msg("%s: \"%s\", expected \"%s\"", url, err.text, error);
    }
    vl2_picture_free(picture);
}

static void test_fetching(void **state) {
    const web *w = *state;
    bool (*half)(const void *) = only_second_is_private;
    bool (*real)(const void *) = vl2_media_address_is_private;
    fetch(w, "127.0.0.1", "/picture", 10, half, NULL);
    fetch(w, "127.0.0.1", "/twice", 10, half, NULL);
    fetch(w, "127.0.0.2", "/picture", 10, half, "private");
    fetch(w, "127.0.0.1", "/to-private", 10, half, "private");
    fetch(w, "127.0.0.1", "/to-file", 10, half, "could not be fetched");
    fetch(w, "127.0.0.1", "/loop", 10, half, "redirect");
    fetch(w, "127.0.0.1", "/endless", 10, half, "over 100000 bytes");
    fetch(w, "127.0.0.1", "/gone", 10, half, "could not be fetched");
    fetch(w, "127.0.0.1", "/picture", 0, half, "too long");
    double begun = vl2_now();
    fetch(w, "127.0.0.1", "/stuck", 0.3, half, "could not be fetched");
    assert_true(vl2_now() - begun < 5);
    static const char *const names[] = {"127.0.0.1",  "localhost",  "127.1",
                                        "2130706433", "0x7f000001", "[::ffff:127.0.0.1]"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        fetch(w, names[i], "/picture", 10, real, "private");
}

/* ---- files ---- */

static vl2_status open_file(vl2_picture **out, const char *folder, const char *url,
                            vl2_error *err) {
    vl2_request_limits limits = {.media_dir = folder};
    vl2_picture_options_init(&limits.picture);
    return vl2_media_open(out, url, strlen(url), &limits, err);
}

/* A folder that becomes a link to another while we look: never the picture there, which is wider. */
static void test_a_link_that_is_swapped_in(void **state) {
    enum { OPENS = 3000 };
    static const char outside[] = "P6 2 1 255\nabcdef";
    static const char *const made[] = {"in/away", "in/deep/x", "in/deep", "in", "out/x", "out"};
    size_t right = 0;
    char folder[128];
    swapper w;
    (void)state;
    scratch s = scratch_make();
    assert_int_equal(mkdir(scratch_path(&s, "in"), 0700), 0);
    assert_int_equal(mkdir(scratch_path(&s, "in/deep"), 0700), 0);
    assert_int_equal(mkdir(scratch_path(&s, "out"), 0700), 0);
    assert_int_equal(symlink("../out", scratch_path(&s, "in/away")), 0);
    scratch_write(&s, "in/deep/x", PICTURE, PICTURE_SIZE);
    scratch_write(&s, "out/x", outside, sizeof outside - 1);
    snprintf(folder, sizeof folder, "%s/in", s.folder);
    swapper_start(&w, folder, "deep", "away");
    for (int i = 0; i < OPENS; i++) {
        vl2_picture *picture = NULL;
        vl2_error err = {0};
        if (open_file(&picture, folder, "file:deep/x", &err) != VL2_OK) {
            assert_null(strstr(err.text, s.folder));
            continue;
        }
        assert_int_equal(vl2_picture_width(picture), 1);
        vl2_picture_free(picture);
        right++;
    }
    swapper_stop(&w);
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        assert_int_equal(remove(scratch_path(&s, made[i])), 0);
    scratch_remove(&s);
    assert_true(right > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_private_addresses),
                                       cmocka_unit_test(test_base64),
                                       cmocka_unit_test(test_a_link_that_is_swapped_in),
                                       cmocka_unit_test_setup_teardown(test_fetching, start, stop)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
