set(checks check_kernels.c check.c check_dots.c check_rows.c bench_level.c)
set(emulated "")
find_path(VL2_SIMDE simde/x86/avx512.h)
if(VL2_SIMDE AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set(emulated VL2_HAVE_EMULATED)
    add_library(vl2_emulated OBJECT ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/dot_avx512.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/rows_avx512.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/dot_avx512bf16.c)
    vl2_flags(vl2_emulated)
    target_include_directories(vl2_emulated PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_compile_options(vl2_emulated PRIVATE -Wno-missing-prototypes -Wno-psabi)
    target_compile_definitions(vl2_emulated PRIVATE VL2_EMULATE_AVX512
        vl2_dot_avx512_fill=emulated_dot_avx512_fill
        vl2_rows_avx512_fill=emulated_rows_avx512_fill
        vl2_dot_avx512bf16_fill=emulated_dot_avx512bf16_fill)
endif()
vl2_test(check_kernels SOURCES ${checks} LABELS kernels)
if(emulated)
    target_sources(check_kernels PRIVATE $<TARGET_OBJECTS:vl2_emulated>)
    target_compile_definitions(check_kernels PRIVATE ${emulated})
endif()
vl2_test(test_ops SOURCES test_ops.c LABELS kernels)
