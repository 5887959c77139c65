/* server/loader.h - the engine's life: loaded when first needed, let go when nobody has held it for long.
 *
 * Whoever needs the engine takes it and gives it back; while it is being loaded or let go others
 * wait, so the lock is never held for long and /health can tell at any time. */
#ifndef VL2_SERVER_LOADER_H
#define VL2_SERVER_LOADER_H

#include "server/server.h"

typedef struct vl2_loader vl2_loader;

vl2_status vl2_loader_create(vl2_loader **out, const vl2_serve_options *options, vl2_error *err);
void vl2_loader_free(vl2_loader *loader); /* closes the engine; nobody holds it any more */
/* *out: the engine, loaded if it is not; held until vl2_loader_give. */
vl2_status vl2_loader_take(vl2_loader *loader, vl2_engine **out, vl2_error *err);
void vl2_loader_give(vl2_loader *loader);
/* Loading failed for good (at the start): vl2_loader_take fails at once from then on. */
void vl2_loader_give_up(vl2_loader *loader);
/* Idle for long: true, and nobody can take the engine until vl2_loader_close has let it go. */
bool vl2_loader_is_idle(vl2_loader *loader);
void vl2_loader_close(vl2_loader *loader);
/* Is there an engine, or will the first request bring one? */
bool vl2_loader_is_ready(vl2_loader *loader);
/* What was told at the last load; false: never loaded. Numbers only: its texts are NULL. */
bool vl2_loader_info(vl2_loader *loader, vl2_info *out);

#endif
