/* model/gguf_config.h - a configuration from a GGUF file's keys, and keys from a configuration.
 *
 * A file that this library wrote has the published config.json and processor_config.json as texts
 * (vl2.config, vl2.processor_config) beside the keys that other programs read; a file made by others
 * has only the keys, and only a language model. Architectures: deepseek2 (MLA), deepseek2-ocr (MHA),
 * deepseek (MHA, its queries and keys permuted for interleaved pairs). */
#ifndef VL2_MODEL_GGUF_CONFIG_H
#define VL2_MODEL_GGUF_CONFIG_H

#include "model/config.h"
#include "model/gguf_write.h"

/* Of a GGUF checkpoint. Without a vision half, `has_vision` is false and those parts are empty. */
vl2_status vl2_gguf_config_read(vl2_config *out, const vl2_checkpoint *checkpoint, vl2_error *err);
/* The architecture's name and the keys of the language half. */
vl2_status vl2_gguf_config_add_language(vl2_gguf_out *out, const vl2_language_config *lang,
                                        vl2_error *err);
/* The keys of the vision half: clip.* */
vl2_status vl2_gguf_config_add_vision(vl2_gguf_out *out, const vl2_config *config, vl2_error *err);
const char *vl2_gguf_config_architecture(const vl2_language_config *lang);

#endif
