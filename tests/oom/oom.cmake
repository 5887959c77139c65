set(wraps "")
foreach(function malloc calloc realloc posix_memalign mmap)
    list(APPEND wraps -Wl,--wrap=${function})
endforeach()
vl2_test(test_oom SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_oom.c
    LIBS engine_test_support vl2_static LINK_OPTIONS ${wraps})
set_property(TEST test_oom APPEND PROPERTY ENVIRONMENT
    "LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/dev/lsan.supp:print_suppressions=0")
if(TARGET vl2_server)
    vl2_test(test_oom_server SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_oom_server.c
        LIBS vl2_server LINK_OPTIONS ${wraps})
endif()
