/* base/sha256.h - SHA-256 (FIPS 180-4), for cache keys that clients cannot collide and for checksums. */
#ifndef VL2_BASE_SHA256_H
#define VL2_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

typedef struct vl2_sha256 {
    uint32_t h[8];
    uint64_t n_bytes;
    uint8_t block[64];
} vl2_sha256;

void vl2_sha256_init(vl2_sha256 *s);
void vl2_sha256_add(vl2_sha256 *s, const void *data, size_t size);
void vl2_sha256_end(vl2_sha256 *s, uint8_t out[32]);

#endif
