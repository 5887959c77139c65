/* server/cache.h - what outlives a request: picture rows, and sessions kept as prefixes. Engine thread only. */
#ifndef VL2_SERVER_CACHE_H
#define VL2_SERVER_CACHE_H

#include "server/job.h"

/* A walk over all pixels: made once a request, by whoever builds its prompt. */
void vl2_picture_key_of(vl2_picture_key *out, const vl2_span *span);

typedef struct vl2_rows_cache vl2_rows_cache;
vl2_status vl2_rows_cache_create(vl2_rows_cache **out, size_t max_bytes, vl2_error *err);
void vl2_rows_cache_free(vl2_rows_cache *cache);
vl2_rows *vl2_rows_cache_find(vl2_rows_cache *cache,
                              const vl2_picture_key *key); /* borrowed, or NULL */
void vl2_rows_cache_put(vl2_rows_cache *cache, const vl2_picture_key *key,
                        vl2_rows *rows); /* retains */
size_t vl2_rows_cache_bytes(const vl2_rows_cache *cache);

typedef struct vl2_prefix_cache vl2_prefix_cache;
vl2_status vl2_prefix_cache_create(vl2_prefix_cache **out, size_t max_entries, vl2_error *err);
void vl2_prefix_cache_free(vl2_prefix_cache *cache);
/* The kept session with the longest common beginning; *n_tokens of it. NULL: none. Borrowed.
 * `keys` are those of the prompt's pictures, in order. */
const vl2_session *vl2_prefix_cache_find(vl2_prefix_cache *cache, const vl2_prompt *prompt,
                                         const vl2_picture_key *keys, size_t *n_tokens);
/* Keeps `session` (taken over, freed when it goes): the prompt's tokens and then `n_more` others. */
void vl2_prefix_cache_put(vl2_prefix_cache *cache, vl2_session *session, const vl2_prompt *prompt,
                          const vl2_picture_key *keys, const int32_t *more, size_t n_more);
/* Lets the least recently used go, but not `spared`; false: there is none. */
bool vl2_prefix_cache_evict(vl2_prefix_cache *cache, const vl2_session *spared);
size_t vl2_prefix_cache_tokens(const vl2_prefix_cache *cache);

#endif
