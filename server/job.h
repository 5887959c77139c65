/* server/job.h - one request on its way: from a connection to the engine thread and back.
 *
 * Two holders: the connection (http.c) and the work side (workers.c, then scheduler.c). The mutex
 * guards `out` and the flags beside it; everything else belongs to one side at a time. Who lets go
 * last writes the log line. */
#ifndef VL2_SERVER_JOB_H
#define VL2_SERVER_JOB_H

#include "base/buf.h"
#include "server/budget.h"
#include "server/server.h"

#include <pthread.h>
#include <stdatomic.h>

struct MHD_Connection;

enum { VL2_JOB_MAX_CHOICES = 8, VL2_JOB_MAX_TOP = 20 };

typedef enum vl2_job_kind { VL2_JOB_CHAT, VL2_JOB_TOKENIZE } vl2_job_kind;

typedef struct vl2_picture_key { /* pixels and tiling: docs/MODEL.md §11.1 */
    uint8_t sha256[32];
    uint32_t tiles_wide, tiles_high;
} vl2_picture_key;

typedef struct vl2_chat {  /* what request.c read */
    vl2_message *messages; /* texts and picture arrays are owned too */
    size_t n_messages;
    vl2_picture **pictures; /* of all messages, in order */
    size_t n_pictures;
    size_t picture_bytes; /* of them, taken from `budget` */
    vl2_budget *budget;
    vl2_sampling sampling;
    size_t max_tokens; /* 0: what the context leaves, capped by the server */
    char **stop;
    size_t n_stop;
    size_t n; /* choices */
    bool stream, include_usage, skip_special, logprobs;
    size_t top_logprobs;
} vl2_chat;

typedef struct vl2_lane { /* one choice, on the engine thread */
    vl2_session *session;
    vl2_sampler *sampler;
    vl2_stream *stream;
    vl2_buf text;           /* all of the answer so far, as it is shown */
    size_t sent;            /* bytes of text that went out */
    vl2_buf raw;            /* with special tokens kept: boxes are found here */
    vl2_stream *raw_stream; /* NULL where text keeps them anyway */
    vl2_buf logprobs;       /* JSON entries, not sent yet */
    vl2_buf ids;            /* int32_t each, generated */
    size_t n_tokens;
    double last_token; /* when it was made */
    bool running;
    const char *finish; /* "stop" or "length"; NULL while it goes on */
} vl2_lane;

typedef struct vl2_job {
    pthread_mutex_t mutex;
    atomic_int holders;
    /* ---- guarded by the mutex ---- */
    vl2_buf out; /* bytes to send, from `taken` on */
    size_t taken;
    int http_status; /* 0 until the head of the reply is known */
    bool streaming;  /* accepted, and answered as a stream of events */
    bool finished;   /* nothing comes after `out` */
    bool suspended;  /* the connection waits to be resumed */
    bool gone;       /* the client has left, or reads too slowly */
    int socket;      /* -1 once the connection is closed */
    double last_sent;
    struct MHD_Connection *connection;
    /* ---- written before the work side has it ---- */
    const vl2_serve_options *options;
    vl2_job_kind kind;
    char id[40];     /* "chatcmpl-…" */
    char client[48]; /* its address, for the log */
    int64_t created; /* seconds since 1970 */
    double arrived;  /* monotonic seconds */
    uint64_t owner;  /* hash of the API key or address, for fairness */
    vl2_buf body;
    size_t body_bytes; /* taken from `bodies` */
    vl2_budget *bodies;
    /* ---- the work side's ---- */
    vl2_chat chat;
    vl2_engine *engine; /* held by this job while it is with the scheduler */
    vl2_prompt *prompt;
    vl2_picture_key *keys; /* of the prompt's pictures, in order */
    size_t prompt_tokens, cached_tokens;
    vl2_lane lanes[VL2_JOB_MAX_CHOICES];
    size_t n_lanes;
    bool encoded, prefilled;
    double first_token, ended;
    size_t n_tokens;      /* generated, all lanes */
    const char *result;   /* "ok", "refused", "cancelled", "error": for the log */
    struct vl2_job *next; /* of the list it is in */
} vl2_job;

vl2_job *vl2_job_create(vl2_job_kind kind, const vl2_serve_options *options);
void vl2_job_hold(vl2_job *job);
void vl2_job_drop(vl2_job *job);      /* the last holder frees it */
void vl2_job_free_body(vl2_job *job); /* it has been read */
/* Frees what computing needed: prompt, sessions, pictures. */
void vl2_job_free_work(vl2_job *job);
/* The request is good and will be answered; from now on a stream may be kept alive. */
void vl2_job_accept(vl2_job *job);
/* Appends to the reply and wakes the connection. Over the bound of unsent bytes the job is `gone`. */
void vl2_job_send(vl2_job *job, const char *data, size_t size);
void vl2_job_head(vl2_job *job, int http_status); /* the reply may begin */
void vl2_job_finish(vl2_job *job);                /* the reply is whole */
/* A comment for a stream that has been silent for `after` seconds, so that nobody on the way hangs up. */
void vl2_job_keep_alive(vl2_job *job, double after);
/* Is nothing more to come? Then `unsent` bytes wait to be taken. */
bool vl2_job_is_over(vl2_job *job, size_t *unsent);
/* Client gone? Looks at the socket, since a suspended connection is not watched. */
bool vl2_job_is_gone(vl2_job *job);
/* Not begun: a whole error reply. Begun (a stream): an error event and the end. */
void vl2_job_fail(vl2_job *job, int http_status, const char *type, const char *param,
                  const char *message);
void vl2_chat_free(vl2_chat *chat);
double vl2_now(void); /* monotonic seconds */

#endif
