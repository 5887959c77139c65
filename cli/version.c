/* vl2 version: what this build can do, and which instructions it uses here. */
#include "commands.h"
#include "terminal.h"

#include <stdio.h>

int cli_version_main(cli_options *options) {
    const char *const *levels = vl2_cpu_levels();
    const char *best = "";
    (void)options;
    printf("vl2 %s\n", vl2_version());
    printf("features    %s\n", vl2_build_features());
    printf("program    %s%s%s\n", VL2_HAS_EDIT ? " chat with line editing" : " chat",
           VL2_HAS_CURL ? ", pull" : "", VL2_HAS_SERVER ? ", serve" : "");
    printf("CPU levels ");
    for (; *levels; levels++) {
        printf(" %s", *levels);
        best = *levels;
    }
    printf(" (in use: %s)\n", best);
    return 0;
}
