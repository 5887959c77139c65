#include "prompt/tokenizer.h"

#include "base/file.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "prompt/tokenizer_load.h"

#include <string.h>

enum {
    MAX_FILE = 64 << 20, /* bytes of a tokenizer.json */
    MAX_TEXT = 64 << 20  /* bytes of a text to encode */
};

/* ---- lists of ids -------------------------------------------------------------------------------- */

void vl2_ids_free(vl2_ids *ids) {
    vl2_mem_free(ids->data);
    *ids = (vl2_ids){0};
}

vl2_status vl2_ids_add(vl2_ids *ids, int32_t id, vl2_error *err) {
    if (ids->size == ids->room) {
        size_t room;
        if (!vl2_mul(&room, ids->room ? ids->room : 32, 2)) {
            return vl2_fail_memory(err, "a list of ids", SIZE_MAX);
        }
        int32_t *data = vl2_mem_grow(ids->data, room, sizeof *data);
        if (!data) return vl2_fail_memory(err, "a list of ids", room * sizeof *data);
        ids->data = data;
        ids->room = room;
    }
    ids->data[ids->size++] = id;
    return VL2_OK;
}

/* ---- opening ------------------------------------------------------------------------------------- */

/* For each mode, what a text must not forge is left out. */
static vl2_status open_passes(vl2_tokenizer *tokenizer, vl2_error *err) {
    const vl2_special_ids *special = &tokenizer->special;
    const int32_t without[] = {special->image, special->user, special->assistant,
                               special->bos,   special->eos,  special->pad};
    for (int mode = 0; mode < 4; mode++) {
        size_t first = mode & VL2_ENCODE_NO_IMAGE ? 0 : 1;
        size_t end = mode & VL2_ENCODE_NO_ROLES ? 6 : 1;
        for (int pass = 0; pass < 2; pass++) {
            VL2_TRY(vl2_added_open(&tokenizer->passes[mode][pass], &tokenizer->vocab, pass == 1,
                                   without + first, end - first, err));
        }
    }
    return VL2_OK;
}

static vl2_status open_texts(vl2_tokenizer **out, const vl2_tokenizer_texts *texts,
                             vl2_error *err) {
    vl2_tokenizer *tokenizer = vl2_mem_calloc(1, sizeof *tokenizer);
    if (!tokenizer) return vl2_fail_memory(err, "the tokenizer", sizeof *tokenizer);
    vl2_status status = vl2_tokenizer_load(tokenizer, texts, err);
    if (status == VL2_OK) status = open_passes(tokenizer, err);
    if (status != VL2_OK) {
        vl2_tokenizer_close(tokenizer);
        return status;
    }
    *out = tokenizer;
    return VL2_OK;
}

vl2_status vl2_tokenizer_parse(vl2_tokenizer **out, const char *tokenizer, size_t tokenizer_size,
                               const char *config, size_t config_size, const char *map,
                               size_t map_size, const char *name, const char *image_token,
                               const char *pad_token, vl2_error *err) {
    vl2_tokenizer_texts texts = {tokenizer, config, map,         tokenizer_size, config_size,
                                 map_size,  name,   image_token, pad_token};
    return open_texts(out, &texts, err);
}

/* *out stays NULL where the file is not there. */
static vl2_status read_beside(char **out, size_t *size, const char *folder, const char *name,
                              vl2_error *err) {
    char *path;
    VL2_TRY(vl2_path_join(&path, folder, name, err));
    vl2_status status = VL2_OK;
    if (vl2_file_exists(path)) status = vl2_file_read(out, size, path, MAX_FILE, err);
    vl2_mem_free(path);
    return status;
}

vl2_status vl2_tokenizer_open(vl2_tokenizer **out, const char *path, const char *image_token,
                              const char *pad_token, vl2_error *err) {
    char *tokenizer = NULL, *config = NULL, *map = NULL, *file = NULL;
    vl2_tokenizer_texts texts = {.image_token = image_token, .pad_token = pad_token, .name = path};
    vl2_status status = VL2_OK;
    if (vl2_file_is_folder(path)) {
        VL2_GOTO(done, status, vl2_path_join(&file, path, "tokenizer.json", err));
        VL2_GOTO(done, status,
                 read_beside(&config, &texts.config_size, path, "tokenizer_config.json", err));
        VL2_GOTO(done, status,
                 read_beside(&map, &texts.map_size, path, "special_tokens_map.json", err));
        texts.name = file;
    }
    VL2_GOTO(done, status,
             vl2_file_read(&tokenizer, &texts.tokenizer_size, texts.name, MAX_FILE, err));
    texts.tokenizer = tokenizer;
    texts.config = config;
    texts.map = map;
    status = open_texts(out, &texts, err);
done:
    vl2_mem_free(tokenizer);
    vl2_mem_free(config);
    vl2_mem_free(map);
    vl2_mem_free(file);
    return status;
}

void vl2_tokenizer_close(vl2_tokenizer *tokenizer) {
    if (!tokenizer) return;
    for (int i = 0; i < 8; i++) vl2_added_close(&tokenizer->passes[i / 2][i % 2]);
    vl2_pretokenize_close(tokenizer->rules);
    vl2_bpe_free(&tokenizer->bpe);
    vl2_vocab_free(&tokenizer->vocab);
    vl2_mem_free(tokenizer);
}

/* ---- text -> ids --------------------------------------------------------------------------------- */

typedef struct encoding {
    const vl2_tokenizer *tokenizer;
    vl2_ids *out;
    vl2_encode_mode mode;
    vl2_bpe_scratch bpe;
    void *match;
} encoding;

static vl2_status encode_piece(void *context, const char *piece, size_t size, vl2_error *err) {
    encoding *e = context;
    return vl2_bpe_encode(e->out, &e->tokenizer->bpe, &e->bpe, piece, size, err);
}

/* Added tokens of this pass and the next, and between them what byte-pair merges make of it. */
static vl2_status encode_pass(encoding *e, int pass, const char *text, size_t size,
                              vl2_error *err) {
    if (size == 0) return VL2_OK;
    if (pass == 2) {
        return vl2_pretokenize_run(e->tokenizer->rules, e->match, text, size, encode_piece, e, err);
    }
    const vl2_added *added = &e->tokenizer->passes[e->mode][pass];
    const vl2_added_name *found;
    size_t done = 0, start = 0;
    while ((found = vl2_added_find(added, text, size, done, &start))) {
        VL2_TRY(encode_pass(e, pass + 1, text + done, start - done, err));
        VL2_TRY(vl2_ids_add(e->out, found->id, err));
        done = start + found->size;
    }
    return encode_pass(e, pass + 1, text + done, size - done, err);
}

vl2_status vl2_tokenizer_encode(vl2_ids *out, const vl2_tokenizer *tokenizer, const char *text,
                                size_t size, vl2_encode_mode mode, vl2_error *err) {
    if (size > MAX_TEXT) {
        return vl2_fail(err, VL2_ERR_LIMIT, "the text has %zu bytes, the limit is %d", size,
                        MAX_TEXT);
    }
    size_t valid = vl2_utf8_valid(text, size);
    if (valid != size) {
        return vl2_fail(err, VL2_ERR_ARGUMENT, "the text is not UTF-8: byte 0x%02x at offset %zu",
                        (uint8_t)text[valid], valid);
    }
    encoding e = {.tokenizer = tokenizer, .out = out, .mode = mode};
    size_t size_before = out->size;
    vl2_status status = vl2_pretokenize_scratch(&e.match, tokenizer->rules, err);
    if (status == VL2_OK) status = encode_pass(&e, 0, text, size, err);
    if (status != VL2_OK) out->size = size_before;
    vl2_pretokenize_scratch_free(e.match);
    vl2_bpe_scratch_free(&e.bpe);
    return status;
}

/* ---- ids -> text --------------------------------------------------------------------------------- */

static const vl2_vocab_token *token_of(const vl2_tokenizer *tokenizer, int32_t id) {
    static const vl2_vocab_token none = {0};
    if (id < 0 || (size_t)id >= tokenizer->vocab.n_ids) return &none;
    return &tokenizer->vocab.tokens[id];
}

const char *vl2_tokenizer_piece(const vl2_tokenizer *tokenizer, int32_t id, size_t *size) {
    const vl2_vocab_token *token = token_of(tokenizer, id);
    *size = token->piece_size;
    return token->piece_size ? tokenizer->vocab.text.data + token->piece : "";
}

bool vl2_tokenizer_is_special(const vl2_tokenizer *tokenizer, int32_t id) {
    return token_of(tokenizer, id)->special;
}

static vl2_status append_repaired(vl2_buf *out, const char *bytes, size_t size, vl2_error *err) {
    while (size > 0) {
        size_t valid = vl2_utf8_valid(bytes, size), bad;
        VL2_TRY(vl2_buf_add(out, bytes, valid, err));
        if (valid == size) break;
        vl2_utf8_next(bytes + valid, size - valid, &bad);
        VL2_TRY(vl2_buf_add(out, "\xef\xbf\xbd", 3, err));
        bytes += valid + bad;
        size -= valid + bad;
    }
    return VL2_OK;
}

vl2_status vl2_tokenizer_decode(vl2_buf *out, const vl2_tokenizer *tokenizer, const int32_t *ids,
                                size_t n, bool skip_special, vl2_error *err) {
    vl2_buf bytes = {0};
    vl2_status status = VL2_OK;
    for (size_t i = 0; i < n && status == VL2_OK; i++) {
        size_t size;
        const char *piece = vl2_tokenizer_piece(tokenizer, ids[i], &size);
        if (skip_special && vl2_tokenizer_is_special(tokenizer, ids[i])) continue;
        status = vl2_buf_add(&bytes, piece, size, err);
    }
    if (status == VL2_OK) status = append_repaired(out, bytes.data, bytes.size, err);
    vl2_buf_free(&bytes);
    return status;
}

/* ---- what is there ------------------------------------------------------------------------------- */

const vl2_special_ids *vl2_tokenizer_special(const vl2_tokenizer *tokenizer) {
    return &tokenizer->special;
}

int32_t vl2_tokenizer_find(const vl2_tokenizer *tokenizer, const char *name) {
    return vl2_vocab_find(&tokenizer->vocab, name, strlen(name));
}

size_t vl2_tokenizer_size(const vl2_tokenizer *tokenizer) { return tokenizer->vocab.n_ids; }

size_t vl2_tokenizer_bytes(const vl2_tokenizer *tokenizer) {
    const vl2_vocab *vocab = &tokenizer->vocab;
    return sizeof *tokenizer + vocab->room * sizeof *vocab->tokens +
           vocab->n_slots * sizeof *vocab->slots + vocab->text.room +
           tokenizer->bpe.n_slots * sizeof *tokenizer->bpe.rules;
}
