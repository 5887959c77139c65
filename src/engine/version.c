/* What this build is: its version, and the optional libraries that it was built with. */
#include "engine/engine.h"

#define TEXT(x) #x
#define VERSION(major, minor, patch) TEXT(major) "." TEXT(minor) "." TEXT(patch)

const char *vl2_version(void) {
    return VERSION(VL2_VERSION_MAJOR, VL2_VERSION_MINOR, VL2_VERSION_PATCH);
}

const char *vl2_build_features(void) {
    return "bmp pnm"
#ifdef VL2_HAVE_JPEG
           " jpeg"
#endif
#ifdef VL2_HAVE_PNG
           " png"
#endif
#ifdef VL2_HAVE_WEBP
           " webp"
#endif
#ifdef VL2_HAVE_GIF
           " gif"
#endif
#ifdef VL2_HAVE_TIFF
           " tiff"
#endif
#ifdef VL2_HAVE_DRAW
           "; draw"
#endif
        ;
}
