#include "server/access.h"

#include "base/json.h"

#include <string.h>
#include <time.h>

static vl2_status add_time(vl2_buf *out, bool json) {
    time_t now = time(NULL);
    struct tm utc, local;
    char text[32];
    gmtime_r(&now, &utc);
    localtime_r(&now, &local);
    strftime(text, sizeof text, json ? "%Y-%m-%dT%H:%M:%SZ" : "%H:%M:%S", json ? &utc : &local);
    return vl2_buf_addf(out, NULL, json ? "{\"time\":\"%s\"" : "%s", text);
}

/* A text of the client's among words for people: anything but plain ASCII is shown as "?". */
static vl2_status add_plain(vl2_buf *out, const char *text) {
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        char shown = c > 0x20 && c < 0x7f ? (char)c : '?';
        VL2_TRY(vl2_buf_add(out, &shown, 1, NULL));
    }
    return VL2_OK;
}

static vl2_status add_request(vl2_buf *out, bool json, const char *client, const char *method,
                              const char *path, int http_status) {
    if (!json) {
        VL2_TRY(vl2_buf_addf(out, NULL, "  %s  ", *client ? client : "-"));
        VL2_TRY(add_plain(out, method));
        VL2_TRY(vl2_buf_add(out, " ", 1, NULL));
        VL2_TRY(add_plain(out, path));
        return vl2_buf_addf(out, NULL, " %d", http_status);
    }
    VL2_TRY(vl2_buf_addf(out, NULL, ",\"client\":\"%s\",\"method\":", client));
    VL2_TRY(vl2_json_quote(out, method, strlen(method), NULL));
    VL2_TRY(vl2_buf_addf(out, NULL, ",\"path\":"));
    VL2_TRY(vl2_json_quote(out, path, strlen(path), NULL));
    return vl2_buf_addf(out, NULL, ",\"status\":%d", http_status);
}

static vl2_status add_work(vl2_buf *out, bool json, const vl2_job *job) {
    const char *form =
        json
            ? ",\"id\":\"%s\",\"prompt_tokens\":%zu,\"cached_tokens\":%zu,\"completion_tokens\":%zu,"
              "\"first_token_s\":%.3f,\"result\":\"%s\""
            : "  %s  prompt %zu (cached %zu)  answer %zu  first %.2f s  %s";
    double first = job->first_token > 0 ? job->first_token - job->arrived : 0;
    return vl2_buf_addf(out, NULL, form, job->id, job->prompt_tokens, job->cached_tokens,
                        job->n_tokens, first, job->result ? job->result : "cancelled");
}

static vl2_status add_end(vl2_buf *out, bool json, double seconds) {
    return vl2_buf_addf(out, NULL, json ? ",\"seconds\":%.3f}" : "  %.3f s", seconds);
}

static void say(const vl2_serve_options *options, vl2_buf *line, vl2_status status) {
    if (status == VL2_OK && line->data) options->say(options->user, line->data);
    vl2_buf_free(line);
}

static vl2_status job_line(vl2_buf *out, const vl2_job *job) {
    bool json = job->options->log_json, chat = job->kind == VL2_JOB_CHAT;
    VL2_TRY(add_time(out, json));
    VL2_TRY(add_request(out, json, job->client, "POST", chat ? "/v1/chat/completions" : "/tokenize",
                        job->http_status));
    if (chat) VL2_TRY(add_work(out, json, job));
    double end = job->ended > 0 ? job->ended : vl2_now();
    return add_end(out, json, end - job->arrived);
}

void vl2_access_job(const vl2_job *job) {
    vl2_buf line = {0};
    if (job->options->say && *job->client) say(job->options, &line, job_line(&line, job));
}

static vl2_status visit_line(vl2_buf *out, bool json, const char *client, const char *method,
                             const char *path, int http_status, double seconds) {
    VL2_TRY(add_time(out, json));
    VL2_TRY(add_request(out, json, client, method, path, http_status));
    return add_end(out, json, seconds);
}

void vl2_access_visit(const vl2_serve_options *options, const char *client, const char *method,
                      const char *path, int http_status, double seconds) {
    vl2_buf line = {0};
    if (!options->say) return;
    say(options, &line,
        visit_line(&line, options->log_json, client, method, path, http_status, seconds));
}
