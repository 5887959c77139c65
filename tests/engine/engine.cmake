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

foreach(name goldens compare generate batch step_memory engines)
    set(wraps "")
    if(name STREQUAL step_memory)
        foreach(function malloc calloc realloc posix_memalign mmap free)
            list(APPEND wraps -Wl,--wrap=${function})
        endforeach()
    endif()
    vl2_test(test_${name} SOURCES ${CMAKE_CURRENT_LIST_DIR}/test_${name}.c
        LIBS engine_test_support vl2_static LABELS engine LINK_OPTIONS ${wraps})
endforeach()
