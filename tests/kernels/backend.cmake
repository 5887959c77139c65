set(checks check_kernels.c check.c check_dots.c check_tiles.c check_attend.c check_rows.c check_q.c check_bytes.c bench_level.c)
set(emulated "")
find_path(VL2_SIMDE simde/x86/avx512.h)
if(VL2_SIMDE AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND emulated VL2_HAVE_EMULATED)
    add_library(vl2_emulated OBJECT ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/dot_avx512.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/rows_avx512.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/dot_avx512bf16.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/attend_avx512bf16.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/dot_amx.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/attend_amx.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/q_avx512vnni.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/q_amx.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/bytes_avx512vnni.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/bytes_amx.c)
    vl2_flags(vl2_emulated)
    target_include_directories(vl2_emulated PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_compile_options(vl2_emulated PRIVATE -Wno-missing-prototypes -Wno-psabi
        $<$<C_COMPILER_ID:Clang>:-Wno-pass-failed>) # SIMDe asks for vectors of loops that cannot be
    target_compile_definitions(vl2_emulated PRIVATE VL2_EMULATE_AVX512
        vl2_dot_avx512_fill=emulated_dot_avx512_fill
        vl2_rows_avx512_fill=emulated_rows_avx512_fill
        vl2_dot_avx512bf16_fill=emulated_dot_avx512bf16_fill
        vl2_attend_avx512bf16_fill=emulated_attend_avx512bf16_fill
        vl2_dot_amx_fill=emulated_dot_amx_fill
        vl2_attend_amx_fill=emulated_attend_amx_fill
        vl2_q_avx512vnni_fill=emulated_q_avx512vnni_fill
        vl2_q_amx_fill=emulated_q_amx_fill
        vl2_bytes_avx512vnni_fill=emulated_bytes_avx512vnni_fill
        vl2_bytes_amx_fill=emulated_bytes_amx_fill)
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    # The loops of AVX-VNNI with a stand-in for its one instruction, for machines that have AVX2 only.
    list(APPEND emulated VL2_HAVE_AVXVNNI)
    add_library(vl2_emulated_vnni OBJECT ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/q_avxvnni.c
        ${CMAKE_SOURCE_DIR}/src/backend/cpu/x86/bytes_avxvnni.c)
    vl2_flags(vl2_emulated_vnni)
    target_include_directories(vl2_emulated_vnni PRIVATE ${CMAKE_SOURCE_DIR}/src)
    target_compile_options(vl2_emulated_vnni PRIVATE -Wno-missing-prototypes -mavx2 -mfma -mf16c)
    target_compile_definitions(vl2_emulated_vnni PRIVATE VL2_EMULATE_AVXVNNI
        vl2_q_avxvnni_fill=emulated_q_avxvnni_fill
        vl2_bytes_avxvnni_fill=emulated_bytes_avxvnni_fill)
endif()
vl2_test(check_kernels SOURCES ${checks} LABELS kernels)
target_compile_definitions(check_kernels PRIVATE ${emulated})
foreach(library vl2_emulated vl2_emulated_vnni)
    if(TARGET ${library})
        target_sources(check_kernels PRIVATE $<TARGET_OBJECTS:${library}>)
    endif()
endforeach()
vl2_test(test_ops SOURCES test_ops.c LABELS kernels)
if(TARGET vl2_emulated)
    target_compile_definitions(test_ops PRIVATE VL2_HAVE_EMULATED)
    target_sources(test_ops PRIVATE $<TARGET_OBJECTS:vl2_emulated>)
endif()
vl2_test(test_ops_q SOURCES test_ops_q.c LABELS kernels)

# Arm's kernels, cross-compiled and run under an emulator where both are installed.
find_program(VL2_ARM_CC aarch64-linux-gnu-gcc)
find_program(VL2_ARM_EMULATOR qemu-aarch64)
if(VL2_ARM_CC AND VL2_ARM_EMULATOR AND NOT CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    set(cpu ${CMAKE_SOURCE_DIR}/src/backend/cpu)
    set(arm_sources ${cpu}/kernels.c ${cpu}/features.c ${cpu}/ref/dot_c.c ${cpu}/ref/rows_c.c
        ${cpu}/ref/q_c.c ${cpu}/ref/bytes_c.c ${CMAKE_SOURCE_DIR}/src/model/quant.c ${CMAKE_SOURCE_DIR}/src/model/quantize.c
        ${CMAKE_SOURCE_DIR}/src/model/quantize_plain.c
        ${cpu}/arm/dot_neon.c ${cpu}/arm/rows_neon.c ${cpu}/arm/q_neon.c ${cpu}/arm/bytes_neon.c ${cpu}/arm/peak_neon.c
        ${CMAKE_SOURCE_DIR}/src/model/dtype.c)
    foreach(file check_kernels.c check.c check_dots.c check_tiles.c check_attend.c check_rows.c check_q.c check_bytes.c bench_level.c)
        list(APPEND arm_sources ${CMAKE_CURRENT_SOURCE_DIR}/${file})
    endforeach()
    set(arm_flags -std=c11 -O2 ${VL2_WARNINGS} -ffp-contract=off -D_POSIX_C_SOURCE=200809L
        -D_DEFAULT_SOURCE -I${CMAKE_SOURCE_DIR}/src -I${CMAKE_SOURCE_DIR}/include
        -I${CMAKE_SOURCE_DIR}/tests)
    set(dotprod ${cpu}/arm/q_dotprod.c ${cpu}/arm/bytes_dotprod.c ${cpu}/arm/peak_dotprod.c)
    set(i8mm ${cpu}/arm/q_i8mm.c ${cpu}/arm/peak_i8mm.c)
    set(bf16 ${cpu}/arm/dot_bf16.c ${cpu}/arm/peak_bf16.c)
    add_custom_command(OUTPUT check_kernels_arm DEPENDS ${arm_sources} ${dotprod} ${i8mm} ${bf16}
            ${cpu}/arm/q_neon.h ${cpu}/arm/bytes_neon.h ${cpu}/arm/peak_bytes.h
        COMMAND ${VL2_ARM_CC} ${arm_flags} -march=armv8.2-a+dotprod -c ${dotprod}
        COMMAND ${VL2_ARM_CC} ${arm_flags} -march=armv8.2-a+dotprod+i8mm -c ${i8mm}
        COMMAND ${VL2_ARM_CC} ${arm_flags} -march=armv8.2-a+bf16 -c ${bf16}
        COMMAND ${VL2_ARM_CC} ${arm_flags} -static ${arm_sources} q_dotprod.o bytes_dotprod.o peak_dotprod.o q_i8mm.o
            peak_i8mm.o dot_bf16.o peak_bf16.o -o check_kernels_arm -lm)
    add_custom_target(vl2_check_kernels_arm ALL DEPENDS check_kernels_arm)
    add_test(NAME check_kernels_arm
        COMMAND ${VL2_ARM_EMULATOR} ${CMAKE_CURRENT_BINARY_DIR}/check_kernels_arm)
    set_tests_properties(check_kernels_arm PROPERTIES LABELS "kernels;long" TIMEOUT 1800)
elseif(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
    add_test(NAME check_kernels_arm COMMAND ${CMAKE_COMMAND} -E echo
        "skipped: gcc-aarch64-linux-gnu and qemu-user are not both installed")
    set_tests_properties(check_kernels_arm PROPERTIES LABELS "kernels;long" SKIP_REGULAR_EXPRESSION
        "skipped:")
endif()
