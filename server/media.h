/* server/media.h - where a request's picture comes from: a data URL, and if allowed a file or the web. */
#ifndef VL2_SERVER_MEDIA_H
#define VL2_SERVER_MEDIA_H

#include "server/request.h"

/* Once a process, before remote pictures are fetched from several threads. */
vl2_status vl2_media_init(vl2_error *err);
/* Opens the picture behind a URL. Errors say what is wrong without any path of this machine. */
vl2_status vl2_media_open(vl2_picture **out, const char *url, size_t size,
                          const vl2_request_limits *limits, vl2_error *err);
/* Decodes base64 (standard or URL alphabet, padding optional at the end, white space refused). */
vl2_status vl2_media_base64(vl2_buf *out, const char *text, size_t size, vl2_error *err);
/* True for addresses that a server must not be sent to: loopback, private, link-local, multicast … */
bool vl2_media_address_is_private(const void *sockaddr);

#endif
