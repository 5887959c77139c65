/* model/published.h - the shapes of the published models: docs/MODEL.md §1. */
#ifndef VL2_MODEL_PUBLISHED_H
#define VL2_MODEL_PUBLISHED_H

#include "model/config.h"

/* "tiny", "small" or "base". */
vl2_status vl2_config_published(vl2_config *out, const char *name, vl2_error *err);

#endif
