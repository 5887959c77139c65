/* stages/stage.h - what tests of stages share: models, recorded results, distances, altered operations. */
#ifndef VL2_TEST_STAGE_H
#define VL2_TEST_STAGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "backend/ops.h"
#include "model/config.h"
#include "model/weights.h"

/* Two orders of summation in float32 differ by up to 1e-5 on these models; the smallest real mistake
 * (an eps of 1e-5 for 1e-6) makes 4e-5. */
#define STAGE_TOLERANCE 3e-5

typedef struct stage_model {
    char folder[512];
    vl2_config config;
    vl2_checkpoint *checkpoint;
    vl2_weights weights;
    vl2_backend *backend; /* float32 */
    vl2_ops altered;      /* where stage_alter puts what it changes */
} stage_model;

void stage_open(stage_model *model, const char *folder, int threads);
void stage_close(stage_model *model);
/* Takes a backend of that many threads instead. */
void stage_threads(stage_model *model, int threads);
void stage_level(stage_model *model, int threads, const char *level);
/* The operations table of the model's backend, to be changed: planted errors go there. */
vl2_ops *stage_alter(stage_model *model);

/* Calls fn for each recorded case of every checkpoint under tests/golden and tests/golden-extra whose
 * folder name contains `filter` (NULL: all), in the order of names; returns how many there were. */
typedef void (*stage_case_fn)(stage_model *model, const vl2_checkpoint *recorded, const char *name,
                              void *user);
size_t stage_each_case(const char *filter, stage_case_fn fn, void *user);
/* One checkpoint of tests/golden. */
void stage_open_golden(stage_model *model, const char *name, int threads);
vl2_checkpoint *stage_recorded(const stage_model *model, const char *name);

/* A recorded tensor, or NULL; of floats, aligned (free with test_free). */
const vl2_tensor *stage_tensor(const vl2_checkpoint *recorded, const char *name);
float *stage_floats(const vl2_checkpoint *recorded, const char *name);
int32_t stage_int(const vl2_tensor *tensor, size_t i);

/* max |a-b| / rms(b); NaN counts as infinite. */
double stage_distance(const float *a, const float *b, size_t n);
/* Fails the test, with the place, when a is not within STAGE_TOLERANCE of b. */
void stage_near(const float *a, const float *b, size_t n, const char *name, const char *what);

float *stage_noise(size_t n, uint32_t seed); /* uniform in [-1, 1); test_free */
vl2_mat stage_mat(const float *data, size_t rows, size_t cols);
vl2_vec stage_vec(const float *data, size_t n);

#endif
