/* server/guard.h - who may ask: API keys, and what a browser must not be made to do.
 *
 * A page from elsewhere can make a browser send requests to this machine, and, by pointing a name
 * of its own here (DNS rebinding), read the answers. So without a key, on a loopback address, only
 * requests for localhost, an address or a known name are taken, and none that a browser marks as
 * coming from another site. */
#ifndef VL2_SERVER_GUARD_H
#define VL2_SERVER_GUARD_H

#include "server/server.h"

struct MHD_Connection;

/* NULL: go on. Else what is wrong, with the status 401 or 403 in *http_status. A host that the
 * target names stands in for the header (RFC 9112, 3.2.2). */
const char *vl2_guard_check(int *http_status, const vl2_serve_options *options,
                            struct MHD_Connection *connection, const char *target, bool needs_key);
/* A request target's path: of "http://host/path" what is behind the host. */
const char *vl2_guard_path(const char *target);
/* NULL, or why it is not clear where this request ends: a proxy before us could see another end, and
 * what is behind it would pass for somebody's next request. */
const char *vl2_guard_framing(struct MHD_Connection *connection, const char *version);
/* Who asks, for fairness: a hash of the key that was checked; of the address where there are none. */
uint64_t vl2_guard_owner(const vl2_serve_options *options, struct MHD_Connection *connection);
void vl2_guard_client(char *out, size_t room, struct MHD_Connection *connection); /* address */
/* Equal or not, in a time that depends on the lengths alone. */
bool vl2_guard_same(const char *a, const char *b);
bool vl2_guard_is_loopback(const char *host);

#endif
