/* json_out.h - answers as JSON, in the form that `run --json` and `batch` share. */
#ifndef VL2_CLI_JSON_OUT_H
#define VL2_CLI_JSON_OUT_H

#include "base/buf.h"
#include "vl2/vl2.h"

/* "text": …   "grounding": […]   "usage": {…}, each without what stands around it. */
vl2_status cli_json_out_text(vl2_buf *out, const char *text, vl2_error *err);
vl2_status cli_json_out_grounding(vl2_buf *out, const vl2_box *boxes, size_t n, vl2_error *err);
vl2_status cli_json_out_usage(vl2_buf *out, vl2_usage usage, vl2_error *err);
const char *cli_json_out_finish(vl2_finish finish);
/* All of one answer, on one line without a newline. */
vl2_status cli_json_out_answer(vl2_buf *out, const vl2_answer *answer, vl2_timings timings,
                               double load_ms, vl2_error *err);

#endif
