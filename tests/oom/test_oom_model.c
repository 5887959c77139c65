/* Every allocation of reading a checkpoint, of a pool and of writing fails in turn: each time the
 * call says that memory is short, loses none, and works again afterwards. */
#include "unit/scratch.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/pool.h"
#include "model/weights.h"

static size_t countdown; /* 0: none fails; n: the n-th from now */
static size_t failed;

static bool fails(void) {
    if (countdown == 0 || --countdown > 0) return false;
    failed++;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
int __real_posix_memalign(void **out, size_t align, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
int __wrap_posix_memalign(void **out, size_t align, size_t size);

void *__wrap_malloc(size_t size) { return fails() ? NULL : __real_malloc(size); }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *memory, size_t size) {
    return fails() ? NULL : __real_realloc(memory, size);
}
int __wrap_posix_memalign(void **out, size_t align, size_t size) {
    return fails() ? 12 : __real_posix_memalign(out, align, size);
}

static vl2_status open_and_bind(vl2_error *err) {
    static const char folder[] = VL2_TEST_GOLDEN "/mini-dense-ends"; /* shards, an index */
    vl2_config config;
    vl2_checkpoint *checkpoint = NULL;
    vl2_weights weights = {0};
    vl2_status status = vl2_config_read(&config, folder, err);
    if (status == VL2_OK) status = vl2_checkpoint_open(&checkpoint, folder, err);
    if (status == VL2_OK) status = vl2_weights_bind(&weights, &config, checkpoint, err);
    vl2_weights_free(&weights);
    vl2_checkpoint_close(checkpoint);
    return status;
}

static vl2_status make_up(vl2_error *err) {
    vl2_config config;
    vl2_weights weights;
    VL2_TRY(vl2_config_read(&config, VL2_TEST_GOLDEN "/mini-tiny", err));
    VL2_TRY(vl2_weights_dummy(&weights, &config, VL2_BF16, err));
    vl2_weights_free(&weights);
    return VL2_OK;
}

static vl2_status write_file(vl2_error *err) {
    const float x[2] = {1, 2};
    const vl2_tensor_plan plan[] = {{"x", VL2_F32, 1, {2}, x}, {"y", VL2_U8, 1, {8}, x}};
    char path[64];
    snprintf(path, sizeof path, "/tmp/vl2-oom-%ld", (long)getpid());
    vl2_status status = vl2_safetensors_write(path, plan, 2, err);
    if (status == VL2_OK) unlink(path);
    return status;
}

static vl2_status make_pool(vl2_error *err) {
    vl2_pool *pool;
    VL2_TRY(vl2_pool_create(&pool, 3, err));
    vl2_pool_free(pool);
    return VL2_OK;
}

static vl2_status quote(vl2_error *err) {
    vl2_buf buf = {0};
    vl2_status status = VL2_OK;
    for (int i = 0; i < 50 && status == VL2_OK; i++)
        status = vl2_json_quote(&buf, "some \n text", 11, err);
    vl2_buf_free(&buf);
    return status;
}

static void sweep(vl2_status (*call)(vl2_error *err), size_t at_least) {
    size_t n = 1;
    for (failed = 0;; n++) {
        vl2_error err = {0};
        size_t before = failed;
        countdown = n;
        vl2_status status = call(&err);
        countdown = 0;
        if (failed == before) { /* there are fewer than n */
            assert_int_equal(status, VL2_OK);
            break;
        }
        if (status != VL2_ERR_MEMORY || !strstr(err.text, "out of memory"))
            fail_msg("allocation %zu: status %d \"%s\"", n, (int)status, err.text);
    }
    if (n - 1 < at_least) fail_msg("only %zu allocations", n - 1);
}

static void test_open(void **state) {
    (void)state;
    sweep(open_and_bind, 60);
}

static void test_others(void **state) {
    (void)state;
    sweep(make_up, 100);
    sweep(write_file, 4);
    sweep(make_pool, 2);
    sweep(quote, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_open), cmocka_unit_test(test_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
