add_library(engine_test_support STATIC ${CMAKE_CURRENT_LIST_DIR}/support.c
    ${CMAKE_CURRENT_LIST_DIR}/compare.c)
vl2_flags(engine_test_support)
target_include_directories(engine_test_support PUBLIC ${CMAKE_SOURCE_DIR}/src
    ${CMAKE_SOURCE_DIR}/tests ${CMAKE_SOURCE_DIR}/include)
target_compile_definitions(engine_test_support PRIVATE
    VL2_TEST_GOLDEN="${CMAKE_SOURCE_DIR}/tests/golden")
if(NOT TARGET PkgConfig::CMOCKA)
    pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET GLOBAL cmocka)
endif()
target_link_libraries(engine_test_support PUBLIC PkgConfig::CMOCKA)

function(engine_test name)
    vl2_test(test_${name} SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_${name}.c
        LIBS engine_test_support vl2_static ${ARGN})
endfunction()
engine_test(goldens)
engine_test(compare)
engine_test(generate)
engine_test(batch LABELS threads)
engine_test(engines LABELS threads)
set(wraps "")
foreach(function malloc calloc realloc posix_memalign mmap free)
    list(APPEND wraps -Wl,--wrap=${function})
endforeach()
engine_test(step_memory LINK_OPTIONS ${wraps})
engine_test(prefill_memory LINK_OPTIONS ${wraps} -Wl,--wrap=munmap)

# Every golden at every chunk size, thread count and CPU level.
add_test(NAME test_goldens_all COMMAND test_goldens)
set_tests_properties(test_goldens_all PROPERTIES LABELS "engine;long" TIMEOUT 1800
    ENVIRONMENT "VL2_TEST_ALL=1")
vl2_python_test(compare_traces FILE test_compare_traces.py LABELS plain)
