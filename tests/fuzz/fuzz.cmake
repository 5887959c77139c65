# vl2_fuzz(NAME SOURCES fuzz_x.c … [LIBS …])   the target fuzz_NAME, from LLVMFuzzerTestOneInput
#
# With VL2_FUZZ (clang) it is a libFuzzer program: fuzz_NAME tests/fuzz/corpus/NAME. Otherwise
# fuzz_main.c drives it, under ctest: the corpus, and a bounded number of mutations of it.
include_guard(GLOBAL)

function(vl2_fuzz name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
    set(target fuzz_${name})
    if(VL2_FUZZ)
        add_executable(${target} ${ARG_SOURCES})
        target_link_options(${target} PRIVATE -fsanitize=fuzzer)
    else()
        add_executable(${target} ${ARG_SOURCES} ${CMAKE_SOURCE_DIR}/tests/fuzz/fuzz_main.c)
        add_test(NAME ${target} COMMAND ${target} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
        set_tests_properties(${target} PROPERTIES LABELS fuzz TIMEOUT 120)
    endif()
    vl2_flags(${target})
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(${target} PRIVATE vl2_static ${ARG_LIBS} m Threads::Threads)
endfunction()
