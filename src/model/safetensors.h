/* model/safetensors.h - the file format: an 8-byte little-endian header length, a JSON header, data.
 *
 * A vl2_checkpoint is one file or all shards of an index, mapped; every tensor's type, shape and byte
 * range is checked at opening (inside the data, not overlapping, size = shape * type). */
#ifndef VL2_MODEL_SAFETENSORS_H
#define VL2_MODEL_SAFETENSORS_H

#include "base/file.h"
#include "model/dtype.h"

enum { VL2_MAX_RANK = 8 };

typedef struct vl2_tensor {
    const char *name; /* NUL-terminated, belongs to the checkpoint */
    vl2_dtype type;
    size_t rank, shape[VL2_MAX_RANK];
    const void *data; /* in the mapping; aligned as the file has it */
    size_t bytes;
    size_t shard; /* index of its file */
} vl2_tensor;

typedef struct vl2_checkpoint vl2_checkpoint;

/* `folder`: takes model.safetensors.index.json if it is there, else model.safetensors. */
vl2_status vl2_checkpoint_open(vl2_checkpoint **out, const char *folder, vl2_error *err);
/* One file by itself (also traces and goldens). */
vl2_status vl2_checkpoint_open_file(vl2_checkpoint **out, const char *path, vl2_error *err);
/* Header and data in memory (fuzzing, tests); the bytes must outlive it. */
vl2_status vl2_checkpoint_open_memory(vl2_checkpoint **out, const void *bytes, size_t size,
                                      const char *name, vl2_error *err);
void vl2_checkpoint_close(vl2_checkpoint *checkpoint);
size_t vl2_checkpoint_count(const vl2_checkpoint *checkpoint);
const vl2_tensor *vl2_checkpoint_at(const vl2_checkpoint *checkpoint, size_t i); /* by name order */
const vl2_tensor *vl2_checkpoint_find(const vl2_checkpoint *checkpoint,
                                      const char *name); /* NULL: none */
const char *vl2_checkpoint_file(const vl2_checkpoint *checkpoint,
                                const vl2_tensor *tensor);       /* its path */
uint64_t vl2_checkpoint_bytes(const vl2_checkpoint *checkpoint); /* of all tensors */

/* Writing: names, types and shapes first, then each tensor's data in that order. */
typedef struct vl2_tensor_plan {
    const char *name;
    vl2_dtype type;
    size_t rank, shape[VL2_MAX_RANK];
    const void *data;
} vl2_tensor_plan;
vl2_status vl2_safetensors_write(const char *path, const vl2_tensor_plan *tensors, size_t n,
                                 vl2_error *err);

#endif
