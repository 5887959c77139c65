/* backend/cpu/attention_parts.h - how attention is cut into tasks and blocks of keys.
 *
 * A task (part) takes one key head of one sequence and a run of its "query rows": row i of the sequence
 * with head j of those that share the key head is query row i * group + j. */
#ifndef VL2_BACKEND_CPU_ATTENTION_PARTS_H
#define VL2_BACKEND_CPU_ATTENTION_PARTS_H

#include "backend/cpu/cpu.h"

typedef struct job {
    vl2_cpu *cpu;
    const vl2_attn *a;
    size_t group; /* query heads of a key head */
    size_t vp;    /* v_dim, padded for `outer` */
    size_t element;
    size_t run; /* query rows of a task at most */
    size_t cut; /* keys of a block at most; blocks end where it divides the position */
    size_t tasks, blocks_per_part; /* with shared-out blocks */
} job;

typedef struct part { /* a task */
    const vl2_attn_seq *seq;
    size_t kv_head, first, n; /* query rows */
} part;

typedef struct keys { /* one block of them */
    const char *k, *v;
    size_t position, n;
} keys;

static inline size_t seq_parts(const job *j, const vl2_attn_seq *seq) {
    return j->a->kv_heads * ((seq->n_rows * j->group + j->run - 1) / j->run);
}

/* Task i; the last rows of a sequence, which see most keys, come first. */
static inline part part_at(const job *j, size_t i) {
    const vl2_attn_seq *seq = j->a->seqs;
    while (i >= seq_parts(j, seq)) i -= seq_parts(j, seq++);
    size_t rows = seq->n_rows * j->group, runs = (rows + j->run - 1) / j->run;
    size_t first = (runs - 1 - i / j->a->kv_heads) * j->run;
    return (part){.seq = seq,
                  .kv_head = i % j->a->kv_heads,
                  .first = first,
                  .n = vl2_cpu_min(j->run, rows - first)};
}

/* Keys [position, position + n) that query row r sees. */
static inline size_t visible(const job *j, const part *p, size_t r, const keys *b) {
    if (!j->a->causal) return b->n;
    size_t at = p->seq->position + (p->first + r) / j->group;
    return at < b->position ? 0 : vl2_cpu_min(b->n, at - b->position + 1);
}

/* Moves to the next block of keys; *block and *token start at 0. False at the end. */
static inline bool next_keys(const job *j, const part *p, keys *b, size_t *block, size_t *token) {
    const vl2_attn *a = j->a;
    while (*block < p->seq->n_blocks && *token == p->seq->blocks[*block].n) {
        ++*block;
        *token = 0;
    }
    if (*block == p->seq->n_blocks) return false;
    const vl2_kv_block *source = &p->seq->blocks[*block];
    b->position = *token == 0 && *block == 0 ? p->seq->first_key : b->position + b->n;
    b->n = vl2_cpu_min(source->n - *token, j->cut - b->position % j->cut);
    b->k = (const char *)source->k + (*token * a->k_token + p->kv_head * a->k_head) * j->element;
    b->v = (const char *)source->v + (*token * a->v_token + p->kv_head * a->v_head) * j->element;
    *token += b->n;
    return true;
}

static inline size_t query_row(const job *j, const part *p, size_t r) {
    return p->seq->row + (p->first + r) / j->group;
}
static inline size_t query_head(const job *j, const part *p, size_t r) {
    return p->kv_head * j->group + (p->first + r) % j->group;
}
static inline const float *query(const job *j, const part *p, size_t r) {
    return j->a->q + query_row(j, p, r) * j->a->ldq + query_head(j, p, r) * j->a->k_dim;
}
static inline float *result(const job *j, const part *p, size_t r) {
    return j->a->out + query_row(j, p, r) * j->a->ldo + query_head(j, p, r) * j->a->v_dim;
}
static inline float *state(const job *j, const part *p, size_t r) {
    size_t i = query_row(j, p, r) * j->a->heads + query_head(j, p, r);
    return j->a->state + i * (j->a->v_dim + 2);
}

/* First row of the part that sees something of the block: rows stand in the order of positions. */
static inline size_t first_seeing(const job *j, const part *p, const keys *b) {
    size_t r = 0;
    while (r < p->n && visible(j, p, r, b) == 0) r += j->group - (p->first + r) % j->group;
    return vl2_cpu_min(r, p->n);
}

/* How many blocks of keys there are. */
static inline size_t count_keys(const job *j, const part *p) {
    size_t n = 0;
    keys b = {0};
    for (size_t block = 0, token = 0; next_keys(j, p, &b, &block, &token);) n++;
    return n;
}

/* ---- one query a sequence (decoding): blocks shared out, all heads of a block together -------------
 *
 * The heads' values of a token lie side by side, and the CPU fetches on ahead of what is read: whoever
 * takes one head must take the others while they are at hand. A unit is some blocks of one sequence;
 * what each block and head give goes to the shared scratch, and is merged head by head. */

enum { VL2_DECODE_UNIT = 8 }; /* blocks of a unit at most */

typedef struct decode {
    const job *j;
    size_t floats; /* that one block and head give */
    size_t per_unit;
} decode;

static inline size_t seen_blocks(const job *j, const vl2_attn_seq *seq) {
    const part p = {.seq = seq, .n = 1};
    size_t n = 0;
    keys b = {0};
    for (size_t block = 0, token = 0; next_keys(j, &p, &b, &block, &token); n++)
        if (visible(j, &p, 0, &b) == 0) break;
    return n;
}

/* Of a sequence: block `number`, head `head`, the sequence's own results beginning at `at`. */
static inline float *one_result(const decode *d, float *at, size_t number, size_t head) {
    return at + (number * d->j->a->heads + head) * d->floats;
}
static inline float *seq_results(const decode *d, const vl2_attn_seq *seq) {
    float *at = (float *)d->j->cpu->shared;
    for (const vl2_attn_seq *s = d->j->a->seqs; s < seq; s++)
        at = one_result(d, at, seen_blocks(d->j, s), 0);
    return at;
}

/* The sequence that unit *i belongs to; *i becomes its own number, *at where its results begin. */
static inline const vl2_attn_seq *find_unit(const decode *d, size_t *i, float **at) {
    const vl2_attn_seq *seq = d->j->a->seqs;
    *at = (float *)d->j->cpu->shared;
    for (;; seq++) {
        size_t blocks = seen_blocks(d->j, seq), units = (blocks + d->per_unit - 1) / d->per_unit;
        if (*i < units) return seq;
        *i -= units;
        *at = one_result(d, *at, blocks, 0);
    }
}

/* True if it ran: every sequence has one row, every head keys of its own, blocks are not fewer than
 * `least`, the room is enough. */
static inline bool share_decode(decode *d, size_t least, vl2_task_fn unit, vl2_task_fn head,
                                void *context) {
    const vl2_attn *a = d->j->a;
    size_t blocks = 0, units = 0;
    if (d->j->group != 1 || !a->first || !a->last) return false;
    for (size_t i = 0; i < a->n_seqs; i++) {
        if (a->seqs[i].n_rows != 1) return false;
        blocks += seen_blocks(d->j, &a->seqs[i]);
    }
    if (blocks < least || blocks * a->heads * d->floats > d->j->cpu->shared_bytes / sizeof(float))
        return false;
    size_t wanted = 4 * (size_t)d->j->cpu->threads, most = VL2_DECODE_UNIT;
    d->per_unit = vl2_cpu_min(most, blocks / wanted + 1);
    for (size_t i = 0; i < a->n_seqs; i++)
        units += (seen_blocks(d->j, &a->seqs[i]) + d->per_unit - 1) / d->per_unit;
    vl2_pool_run(d->j->cpu->base.pool, units, unit, context);
    vl2_pool_run(d->j->cpu->base.pool, a->n_seqs * a->heads, head, context);
    return true;
}

#endif
