#include "server/guard.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

bool vl2_guard_same(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    unsigned different = n != m;
    for (size_t i = 0; i < n; i++)
        different |= (unsigned)(unsigned char)a[i] ^ (unsigned char)(m ? b[i % m] : 0);
    return different == 0;
}

static const char *header(struct MHD_Connection *connection, const char *name) {
    return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
}

static const char *bearer(struct MHD_Connection *connection) {
    const char *value = header(connection, "Authorization");
    return value && strncasecmp(value, "Bearer ", 7) == 0 ? value + 7 : "";
}

/* All keys are looked at, whichever fits. */
static bool has_key(const vl2_serve_options *options, struct MHD_Connection *connection) {
    const char *key = bearer(connection);
    bool known = false;
    for (size_t i = 0; i < options->n_api_keys; i++)
        known |= vl2_guard_same(key, options->api_keys[i]);
    return known;
}

/* ---- names ---- */

bool vl2_guard_is_loopback(const char *host) {
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0;
}

static bool is_address(const char *name) {
    unsigned char any[16];
    return inet_pton(AF_INET, name, any) == 1 || inet_pton(AF_INET6, name, any) == 1;
}

static bool ends_with(const char *name, const char *end) {
    size_t n = strlen(name), m = strlen(end);
    return n >= m && strcasecmp(name + n - m, end) == 0;
}

/* A Host header's name, without brackets and port, up to a "/"; false: it cannot be one. */
static bool host_name(char *out, size_t room, const char *host) {
    bool bracket = *host == '[';
    size_t n = bracket ? strcspn(++host, "]/") : strcspn(host, ":/");
    const char *behind = host + n;
    if (n >= room || (bracket && *behind++ != ']')) return false;
    if (*behind == ':') behind += 1 + strspn(behind + 1, "0123456789");
    memcpy(out, host, n);
    out[n] = '\0';
    return !*behind || *behind == '/';
}

/* "http://host/path", as a proxy may ask: where its host begins; NULL: a path alone. */
static const char *host_of(const char *target) {
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        size_t n = strlen(schemes[i]);
        if (strncasecmp(target, schemes[i], n) == 0) return target + n;
    }
    return NULL;
}

const char *vl2_guard_path(const char *target) {
    const char *host = host_of(target), *path = host ? host + strcspn(host, "/") : target;
    return *path ? path : "/";
}

static bool is_our_name(const vl2_serve_options *options, const char *host) {
    char name[256];
    if (!host_name(name, sizeof name, host)) return false;
    if (is_address(name) || strcasecmp(name, "localhost") == 0 || ends_with(name, ".localhost"))
        return true;
    for (size_t i = 0; i < options->n_host_names; i++) {
        if (strcasecmp(name, options->host_names[i]) == 0) return true;
    }
    return false;
}

static bool is_open_door(const vl2_serve_options *options) {
    return !options->n_api_keys && vl2_guard_is_loopback(options->host);
}

const char *vl2_guard_check(int *http_status, const vl2_serve_options *options,
                            struct MHD_Connection *connection, const char *target, bool needs_key) {
    const char *host = host_of(target), *site = header(connection, "Sec-Fetch-Site");
    if (!host) host = header(connection, "Host");
    *http_status = 401;
    if (needs_key && options->n_api_keys && !has_key(options, connection))
        return "the API key is missing or wrong";
    *http_status = 403;
    if (is_open_door(options) && host && !is_our_name(options, host))
        return "this name is not ours; the server takes it with --host-name";
    if (needs_key && site && strcasecmp(site, "cross-site") == 0 && !options->cors_origin)
        return "a page from another site may not ask; the server allows it with --cors-origin";
    return NULL;
}

/* ---- where a request ends ---- */

typedef struct framing { /* what its head says of that */
    size_t hosts, lengths, encodings;
    bool odd_name, odd_encoding;
} framing;

static enum MHD_Result note_header(void *user, enum MHD_ValueKind kind, const char *name,
                                   const char *value) {
    framing *f = user;
    (void)kind;
    f->odd_name |= !*name || strpbrk(name, " \t") != NULL;
    f->hosts += strcasecmp(name, "Host") == 0;
    f->lengths += strcasecmp(name, "Content-Length") == 0;
    if (strcasecmp(name, "Transfer-Encoding") != 0) return MHD_YES;
    f->encodings++;
    f->odd_encoding |= !value || strcasecmp(value, "chunked") != 0;
    return MHD_YES;
}

const char *vl2_guard_framing(struct MHD_Connection *connection, const char *version) {
    framing f = {0};
    MHD_get_connection_values(connection, MHD_HEADER_KIND, note_header, &f);
    if (f.odd_name) return "a header's name is empty or holds a space";
    if (f.hosts > 1 || (!f.hosts && strcmp(version, "HTTP/1.1") == 0))
        return "the request needs one Host header";
    if (f.odd_encoding) return "Transfer-Encoding can be chunked only";
    if (f.lengths + f.encodings > 1)
        return "the body's length is said more than once: one Content-Length or Transfer-Encoding";
    return NULL;
}

/* ---- who asks ---- */

static uint64_t mix(uint64_t hash, const void *data, size_t size) { /* FNV-1a */
    const unsigned char *bytes = data;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash;
}

/* The address's bytes; 0: none. */
static size_t address_of(unsigned char out[16], int *family, struct MHD_Connection *connection) {
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (!info || !info->client_addr) return 0;
    *family = info->client_addr->sa_family;
    if (*family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, info->client_addr, sizeof v4);
        memcpy(out, &v4.sin_addr, 4);
        return 4;
    }
    if (*family != AF_INET6) return 0;
    struct sockaddr_in6 v6;
    memcpy(&v6, info->client_addr, sizeof v6);
    memcpy(out, &v6.sin6_addr, 16);
    return 16;
}

uint64_t vl2_guard_owner(const vl2_serve_options *options, struct MHD_Connection *connection) {
    static const uint64_t basis = 0xcbf29ce484222325u;
    unsigned char address[16];
    int family;
    const char *key = bearer(connection);
    if (options->n_api_keys) return mix(basis, key, strlen(key));
    return mix(basis, address, address_of(address, &family, connection));
}

void vl2_guard_client(char *out, size_t room, struct MHD_Connection *connection) {
    unsigned char address[16];
    int family;
    *out = '\0';
    if (!address_of(address, &family, connection) ||
        !inet_ntop(family, address, out, (socklen_t)room))
        snprintf(out, room, "?");
}
