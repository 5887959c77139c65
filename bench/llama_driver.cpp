// A short program over llama_decode: what llama.cpp and ik_llama.cpp reach on a text half.
//
//   llama_driver FILE.gguf THREADS REPEAT prefill:512 decode:100 …
//
// prefill:N  tokens a second of a prompt of N in batches of 512 (an empty cache each time)
// decode:N   tokens a second of 16 single tokens behind N
//
// One line each: what, median, best. The environment may say PLAIN=1: weights as they are in the file, without which
// llama.cpp's scheduler stops at an assertion where attention's small matrices are quantized (small). Built with -DIK for
// ik_llama.cpp, whose names differ here and there; there it may say RTR=1 (weights repacked when loaded) and MLA=3 (its
// form of attention over compressed keys).
#include "llama.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace {

enum { BATCH = 512, CONTEXT = 4352, STEPS = 16 };

double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void forget(llama_context *context, int from) {
#ifdef IK
    llama_kv_cache_seq_rm(context, 0, from, -1);
#else
    llama_memory_seq_rm(llama_get_memory(context), 0, from, -1);
#endif
}

// n tokens that differ, behind `from` others; one by one or in batches.
void feed(llama_context *context, int vocabulary, int from, int n, int at_once) {
    static unsigned state = 1;
    llama_batch batch = llama_batch_init(at_once, 0, 1);
    for (int done = 0; done < n; done += batch.n_tokens) {
        batch.n_tokens = std::min(at_once, n - done);
        for (int i = 0; i < batch.n_tokens; i++) {
            state = state * 1664525u + 1013904223u;
            batch.token[i] = (int)((state >> 8) % (unsigned)vocabulary);
            batch.pos[i] = from + done + i;
            batch.n_seq_id[i] = 1;
            batch.seq_id[i][0] = 0;
            batch.logits[i] = at_once == 1 || done + i == n - 1;
        }
        if (llama_decode(context, batch) != 0) {
            std::fprintf(stderr, "llama_decode failed\n");
            std::exit(1);
        }
    }
    const float *logits = llama_get_logits_ith(context, -1);
    if (!logits || logits[0] != logits[0]) std::fprintf(stderr, "the logits are no numbers\n");
    llama_batch_free(batch);
}

double once(llama_context *context, int vocabulary, int n, bool prefill) {
    if (!prefill) feed(context, vocabulary, n, 1, 1);
    const double begun = seconds();
    if (prefill)
        feed(context, vocabulary, 0, n, BATCH);
    else
        feed(context, vocabulary, n + 1, STEPS, 1);
    const double rate = (prefill ? n : STEPS) / (seconds() - begun);
    forget(context, prefill ? 0 : n);
    return rate;
}

void measure(llama_context *context, int vocabulary, const char *what, int repeat) {
    const char *number = std::strchr(what, ':');
    const bool prefill = std::strncmp(what, "prefill", 7) == 0;
    const int n = number ? std::atoi(number + 1) : 0;
    if (n < 1 || n + 1 + STEPS > CONTEXT) {
        std::fprintf(stderr, "%s: expected prefill:N or decode:N\n", what);
        std::exit(2);
    }
    std::vector<double> rates;
    forget(context, 0);
    feed(context, vocabulary, 0, prefill ? 32 : n, BATCH);
    if (prefill) forget(context, 0);
    for (int i = 0; i < repeat; i++) rates.push_back(once(context, vocabulary, n, prefill));
    std::sort(rates.begin(), rates.end());
    std::printf("%s\t%.2f\t%.2f\n", what, rates[rates.size() / 2], rates.back());
    std::fflush(stdout);
    forget(context, 0);
}

void log_errors(ggml_log_level level, const char *text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR) std::fputs(text, stderr);
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 5) {
        std::fprintf(stderr, "llama_driver FILE.gguf THREADS REPEAT prefill:512 decode:100 …\n");
        return 2;
    }
    llama_log_set(log_errors, nullptr);
    llama_backend_init();
    llama_model_params model_params = llama_model_default_params();
    llama_context_params params = llama_context_default_params();
    model_params.n_gpu_layers = 0;
    params.n_ctx = CONTEXT;
    params.n_ubatch = BATCH;
    params.n_threads = params.n_threads_batch = std::atoi(argv[2]);
#ifdef IK
    const char *mla = std::getenv("MLA");
    model_params.repack_tensors = std::getenv("RTR") != nullptr;
    model_params.use_mmap = !model_params.repack_tensors;
    params.flash_attn = params.fused_moe_up_gate = true;
    if (mla) model_params.mla = params.mla_attn = std::atoi(mla);
#else
    model_params.use_extra_bufts = std::getenv("PLAIN") == nullptr;
#endif
    llama_model *model = llama_model_load_from_file(argv[1], model_params);
    if (!model) return 1;
    llama_context *context = llama_init_from_model(model, params);
    if (!context) return 1;
#ifdef IK
    const int vocabulary = llama_n_vocab(model);
#else
    const int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
#endif
    for (int i = 4; i < argc; i++) measure(context, vocabulary, argv[i], std::atoi(argv[3]));
    llama_free(context);
    return 0;
}
