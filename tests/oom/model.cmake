set(wraps "")
foreach(function malloc calloc realloc posix_memalign)
    list(APPEND wraps -Wl,--wrap=${function})
endforeach()
vl2_test(test_oom_model SOURCES test_oom_model.c LABELS oom
    LINK_OPTIONS ${wraps})
