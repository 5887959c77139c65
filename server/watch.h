/* server/watch.h - connections' patience: a thread that looks at each of them once a second.
 *
 * Who sends a request or takes an answer more slowly than is reasonable is cut off, so that nobody
 * can hold all connections, or memory, for nothing; streams that have been silent get a comment, however long a step takes. */
#ifndef VL2_SERVER_WATCH_H
#define VL2_SERVER_WATCH_H

#include "server/job.h"

typedef struct vl2_watch vl2_watch;
typedef struct vl2_watched vl2_watched; /* one connection */

vl2_status vl2_watch_start(vl2_watch **out, vl2_error *err);
void vl2_watch_stop(vl2_watch *watch);                     /* no connection is left */
vl2_watched *vl2_watch_add(vl2_watch *watch, int socket);  /* NULL: no memory */
void vl2_watch_remove(vl2_watch *watch, vl2_watched *one); /* before its socket is closed */
size_t vl2_watch_count(vl2_watch *watch); /* whole requests that are not answered yet */
/* A request's head has come; then parts of its body, `size` bytes each: time for more is given. */
void vl2_watch_body(vl2_watch *watch, vl2_watched *one, size_t size);
/* An answer of so many bytes is known and has to be taken. */
void vl2_watch_answer(vl2_watch *watch, vl2_watched *one, size_t size);
/* The request is whole: it has all the time that `job` takes, which is kept alive; then what is unsent
 * has to be taken. */
void vl2_watch_whole(vl2_watch *watch, vl2_watched *one, vl2_job *job);
void vl2_watch_answered(vl2_watch *watch, vl2_watched *one); /* the next request may come */

#endif
