#include "server/media.h"

#include "base/beneath.h"
#include "base/file.h"
#include "base/mem.h"

#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#ifdef VL2_HAVE_CURL
#include <arpa/inet.h>
#include <curl/curl.h>
#endif

enum { MAX_URL = 8192 };

static int base64_value(unsigned char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+' || c == '-') return 62;
    if (c == '/' || c == '_') return 63;
    return -1;
}

vl2_status vl2_media_base64(vl2_buf *out, const char *text, size_t size, vl2_error *err) {
    for (int pad = 0; pad < 2 && size && text[size - 1] == '='; pad++) size--;
    if (size % 4 == 1)
        return vl2_fail(err, VL2_ERR_FORMAT, "broken base64: %zu characters cannot be whole bytes",
                        size);
    VL2_TRY(vl2_buf_reserve(out, size / 4 * 3 + 3, err));
    uint32_t bits = 0;
    int have = 0;
    for (size_t i = 0; i < size; i++) {
        int value = base64_value((unsigned char)text[i]);
        if (value < 0)
            return vl2_fail(err, VL2_ERR_FORMAT,
                            "broken base64: character %zu is not one of its alphabet", i);
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            out->data[out->size++] = (char)(bits >> have); /* reserved above */
        }
    }
    out->data[out->size] = '\0';
    return VL2_OK;
}

static vl2_status open_data(vl2_picture **out, const char *url, size_t size,
                            const vl2_request_limits *limits, vl2_error *err) {
    const char *comma = memchr(url, ',', size < 256 ? size : 256);
    if (!comma) return vl2_fail(err, VL2_ERR_FORMAT, "a data URL needs a comma before its data");
    static const char base64[] = ";base64";
    size_t head = (size_t)(comma - url), tail = sizeof base64 - 1;
    if (head < tail || strncasecmp(comma - tail, base64, tail) != 0)
        return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                        "a data URL must be base64: data:image/png;base64,…");
    vl2_buf bytes = {.cap = limits->picture.max_file_bytes};
    vl2_status status = vl2_media_base64(&bytes, comma + 1, size - head - 1, err);
    if (status == VL2_OK)
        status = vl2_picture_decode(out, bytes.data ? bytes.data : "", bytes.size, "the picture",
                                    &limits->picture, err);
    vl2_buf_free(&bytes);
    return status;
}

/* %XX of a URL's path, in place of a copy; false for a broken or a zero one. */
static bool unescape(char *text) {
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from != '%') {
            *to++ = *from;
            continue;
        }
        char hex[3] = {from[1], from[1] ? from[2] : '\0', '\0'}, *end;
        long value = strtol(hex, &end, 16);
        if (end != hex + 2 || value == 0) return false;
        *to++ = (char)value;
        from += 2;
    }
    *to = '\0';
    return true;
}

/* An absolute name's part behind the folder, as given or as it really is; NULL: it lies elsewhere. */
static const char *behind(const char *folder, const char *name) {
    char real[PATH_MAX];
    const char *roots[] = {folder, realpath(folder, real) ? real : folder};
    for (size_t i = 0; i < 2; i++) {
        size_t n = strlen(roots[i]);
        while (n && roots[i][n - 1] == '/') n--;
        if (strncmp(name, roots[i], n) == 0 && name[n] == '/')
            return name + n + strspn(name + n, "/");
    }
    return NULL;
}

static vl2_status read_beneath(char **out, size_t *n_bytes, const char *name,
                               const vl2_request_limits *limits, vl2_error *err) {
    const char *inside = *name == '/' ? behind(limits->media_dir, name) : name;
    int fd = inside ? vl2_beneath_open(limits->media_dir, inside) : -1;
    if (fd < 0) return vl2_fail(err, VL2_ERR_IO, "no such file under the server's media folder");
    vl2_status status =
        vl2_file_read_fd(out, n_bytes, fd, "the file", limits->picture.max_file_bytes, err);
    close(fd);
    return status;
}

static vl2_status open_file(vl2_picture **out, const char *url, size_t size,
                            const vl2_request_limits *limits, vl2_error *err) {
    if (!limits->media_dir)
        return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                        "file: pictures are off; the server opens them with --media-dir");
    static const char local[] = "file://";
    size_t skip = size >= sizeof local - 1 && strncmp(url, local, sizeof local - 1) == 0
                      ? sizeof local - 1
                      : 5;
    if (size > MAX_URL || memchr(url, '\0', size))
        return vl2_fail(err, VL2_ERR_FORMAT, "a URL of %zu bytes, expected at most %d, without NUL",
                        size, MAX_URL);
    char *name = vl2_mem_strdup(url + skip, size - skip), *bytes = NULL;
    size_t n_bytes = 0;
    if (!name) return vl2_fail_memory(err, "a file name", size);
    vl2_status status =
        unescape(name) ? read_beneath(&bytes, &n_bytes, name, limits, err)
                       : vl2_fail(err, VL2_ERR_FORMAT, "a file URL holds a broken %% sequence");
    if (status == VL2_OK)
        status = vl2_picture_decode(out, bytes, n_bytes, "the picture", &limits->picture, err);
    vl2_mem_free(bytes);
    vl2_mem_free(name);
    return status;
}

static bool private_v4(uint32_t a) { /* host order */
    static const struct {
        uint32_t net, mask;
    } nets[] = {
        {0x00000000, 0xff000000}, {0x0a000000, 0xff000000}, {0x64400000, 0xffc00000},
        {0x7f000000, 0xff000000}, {0xa9fe0000, 0xffff0000}, {0xac100000, 0xfff00000},
        {0xc0000000, 0xffffff00}, {0xc0000200, 0xffffff00}, {0xc0a80000, 0xffff0000},
        {0xc6120000, 0xfffe0000}, {0xc6336400, 0xffffff00}, {0xcb007100, 0xffffff00},
        {0xe0000000, 0xe0000000}, /* multicast, reserved, broadcast */
    };
    for (size_t i = 0; i < sizeof nets / sizeof nets[0]; i++) {
        if ((a & nets[i].mask) == nets[i].net) return true;
    }
    return false;
}

bool vl2_media_address_is_private(const void *sockaddr) {
    sa_family_t family;
    memcpy(&family, (const char *)sockaddr + offsetof(struct sockaddr, sa_family), sizeof family);
    if (family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, sockaddr, sizeof v4);
        return private_v4(ntohl(v4.sin_addr.s_addr));
    }
    if (family != AF_INET6) return true;
    struct sockaddr_in6 v6;
    memcpy(&v6, sockaddr, sizeof v6);
    const uint8_t *b = v6.sin6_addr.s6_addr;
    uint32_t low = (uint32_t)b[12] << 24 | (uint32_t)b[13] << 16 | (uint32_t)b[14] << 8 | b[15];
    if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr) || IN6_IS_ADDR_V4COMPAT(&v6.sin6_addr))
        return private_v4(low);
    static const uint8_t nat64[12] = {0x00, 0x64, 0xff, 0x9b};
    if (memcmp(b, nat64, sizeof nat64) == 0) return private_v4(low);
    /* Only global unicast, 2000::/3, less 6to4, Teredo and documentation, which can hide a v4 inside. */
    bool global = (b[0] & 0xe0) == 0x20;
    bool tunnel =
        (b[0] == 0x20 && b[1] == 0x02) || (b[0] == 0x20 && b[1] == 0x01 && b[2] == 0 && b[3] == 0);
    bool docs = b[0] == 0x20 && b[1] == 0x01 && b[2] == 0x0d && b[3] == 0xb8;
    return !global || tunnel || docs;
}

#ifdef VL2_HAVE_CURL

typedef struct check {
    bool (*is_private)(const void *address);
    bool refused;
} check;

/* The address is checked when the socket is made, after resolving: a name cannot change under us. */
static curl_socket_t open_checked(void *user, curlsocktype purpose, struct curl_sockaddr *address) {
    (void)purpose;
    check *c = user;
    if (c->is_private(&address->addr)) {
        c->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype, address->protocol);
}

static size_t collect(char *data, size_t size, size_t n, void *user) {
    return vl2_buf_add(user, data, size * n, NULL) == VL2_OK ? size * n : 0;
}

static void set_up(CURL *curl, const char *url, vl2_buf *bytes, check *c, long ms) {
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 1L); /* each hop's address passes open_checked */
    curl_easy_setopt(curl, CURLOPT_MAXREDIRS, 3L);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, open_checked);
    curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, c);
    curl_easy_setopt(curl, CURLOPT_PROXY, ""); /* a proxy would look up the name for us */
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ms);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, bytes);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "vl2");
}

static vl2_status fetch(vl2_buf *bytes, const char *url, const vl2_request_limits *limits,
                        vl2_error *err) {
    check c = {.is_private = limits->is_private};
    double left = limits->remote_until - vl2_now();
    if (left <= 0)
        return vl2_fail(err, VL2_ERR_LIMIT, "the pictures of this request took too long to fetch");
    CURL *curl = curl_easy_init();
    if (!curl) return vl2_fail_memory(err, "a download", 0);
    set_up(curl, url, bytes, &c, (long)(left * 1000) + 1);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    if (c.refused)
        return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                        "the picture's address is private; only public ones are fetched");
    if (code == CURLE_WRITE_ERROR)
        return vl2_fail(err, VL2_ERR_LIMIT, "the picture is over %zu bytes", bytes->cap);
    if (code != CURLE_OK)
        return vl2_fail(err, VL2_ERR_IO, "the picture could not be fetched: %s",
                        curl_easy_strerror(code));
    return VL2_OK;
}

vl2_status vl2_media_init(vl2_error *err) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK) return VL2_OK;
    return vl2_fail(err, VL2_ERR_MEMORY, "libcurl could not be started, for remote pictures");
}

static vl2_status open_remote(vl2_picture **out, const char *url, size_t size,
                              const vl2_request_limits *limits, vl2_error *err) {
    if (size > MAX_URL || memchr(url, '\0', size))
        return vl2_fail(err, VL2_ERR_FORMAT, "a URL of %zu bytes, expected at most %d, without NUL",
                        size, MAX_URL);
    char *text = vl2_mem_strdup(url, size);
    if (!text) return vl2_fail_memory(err, "a URL", size);
    vl2_buf bytes = {.cap = limits->picture.max_file_bytes};
    vl2_status status = fetch(&bytes, text, limits, err);
    if (status == VL2_OK)
        status = vl2_picture_decode(out, bytes.data ? bytes.data : "", bytes.size, "the picture",
                                    &limits->picture, err);
    vl2_buf_free(&bytes);
    vl2_mem_free(text);
    return status;
}

#else

vl2_status vl2_media_init(vl2_error *err) {
    return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                    "--allow-remote-images needs libcurl, which this build has not");
}

static vl2_status open_remote(vl2_picture **out, const char *url, size_t size,
                              const vl2_request_limits *limits, vl2_error *err) {
    (void)out, (void)url, (void)size, (void)limits;
    return vl2_fail(err, VL2_ERR_UNSUPPORTED, "remote pictures: this build has no libcurl");
}

#endif

static bool begins(const char *url, size_t size, const char *with) {
    size_t n = strlen(with);
    return size >= n && strncasecmp(url, with, n) == 0;
}

vl2_status vl2_media_open(vl2_picture **out, const char *url, size_t size,
                          const vl2_request_limits *limits, vl2_error *err) {
    if (begins(url, size, "data:")) return open_data(out, url, size, limits, err);
    if (begins(url, size, "file:")) return open_file(out, url, size, limits, err);
    if (begins(url, size, "http://") || begins(url, size, "https://")) {
        if (limits->allow_remote) return open_remote(out, url, size, limits, err);
        return vl2_fail(
            err, VL2_ERR_UNSUPPORTED,
            "pictures by http(s) are off; send a data URL, or start the server with --allow-remote-images");
    }
    return vl2_fail(err, VL2_ERR_UNSUPPORTED,
                    "a picture's URL must begin with data:, http:, https: or file:");
}
