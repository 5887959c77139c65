/* model/safetensors.h - the file format: an 8-byte little-endian header length, a JSON header, data.
 *
 * A vl2_checkpoint is one file or all shards of an index, mapped; every tensor's type, shape and byte
 * range is checked at opening: size = shape * type, and the ranges cover the data without overlap,
 * hole or rest, as the format's own library demands. */
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

/* The tensors of one file's bytes, in the order of their data. */
typedef struct vl2_safetensors_list {
    vl2_tensor *tensors; /* [n]; names point into `names`, data into the bytes */
    size_t n;
    char *names;
} vl2_safetensors_list;

/* `name` leads the messages. The bytes must outlive the list. */
vl2_status vl2_safetensors_parse(vl2_safetensors_list *out, const void *bytes, size_t size,
                                 const char *name, vl2_error *err);
void vl2_safetensors_free(vl2_safetensors_list *list);
/* "[64, 48]"; returns out. */
enum { VL2_SHAPE_TEXT = 24 * VL2_MAX_RANK };
const char *vl2_safetensors_shape(char out[VL2_SHAPE_TEXT], const size_t *shape, size_t rank);

typedef struct vl2_checkpoint vl2_checkpoint;

/* `folder`: takes model.safetensors.index.json if it is there, else model.safetensors. A path that
 * ends in .gguf is a file of that format, with its other parts if it has any. */
vl2_status vl2_checkpoint_open(vl2_checkpoint **out, const char *folder, vl2_error *err);
/* A GGUF file with, maybe, a vision half from another one (NULL: none). */
vl2_status vl2_checkpoint_open_gguf(vl2_checkpoint **out, const char *path, const char *mmproj,
                                    vl2_error *err);
/* The keys of a GGUF checkpoint; NULL where it is none, or has no vision half of its own. */
struct vl2_gguf;
const struct vl2_gguf *vl2_checkpoint_keys(const vl2_checkpoint *checkpoint);
const struct vl2_gguf *vl2_checkpoint_mmproj_keys(const vl2_checkpoint *checkpoint);
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

/* Its folder or file, as it was opened. */
const char *vl2_checkpoint_name(const vl2_checkpoint *checkpoint);

/* Writing. The header lists the tensors as given; their data is laid down widest type first, so that
 * all of it is aligned. */
typedef struct vl2_tensor_plan {
    const char *name;
    vl2_dtype type;
    size_t rank, shape[VL2_MAX_RANK];
    const void *data;
} vl2_tensor_plan;
vl2_status vl2_safetensors_write(const char *path, const vl2_tensor_plan *tensors, size_t n,
                                 vl2_error *err);

#endif
