# How rooms, libraries and tests are built.
#
#   vl2_room(NAME SOURCES a.c … [LIBS targets…] [DEFINES X…])   an object library of src/NAME
#   vl2_isa_sources(NAME FILES a.c … FLAGS -mavx2 …)            flags for some files of a room
#   vl2_libraries()                                             libvl2, static and shared
#   vl2_test(NAME SOURCES test_x.c … [LIBS …] [LABELS …])       a cmocka program run by ctest
#   vl2_python_test(NAME FILE test_x.py [LABELS …])             a unittest file run by ctest
# Labels: the test's folder; "long" for what only scripts/test --all runs; "plain" for what says
# nothing under sanitizers; "threads" for what ThreadSanitizer should see.

set(VL2_WARNINGS -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith
    -Wcast-qual -Wwrite-strings -Wvla -Wundef)
if(VL2_WERROR OR NOT DEFINED VL2_WERROR)
    list(APPEND VL2_WARNINGS -Werror)
endif()

if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
    # snprintf cuts what is too long, and is meant to; what gcc can see of it changes with its flags
    list(APPEND VL2_WARNINGS -Wno-format-truncation)
endif()

set(VL2_SANITIZE "")
if(VL2_SANITIZE_ADDRESS)
    list(APPEND VL2_SANITIZE -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
endif()
if(VL2_SANITIZE_THREAD)
    list(APPEND VL2_SANITIZE -fsanitize=thread -fno-omit-frame-pointer)
endif()
if(VL2_FUZZ AND CMAKE_C_COMPILER_ID MATCHES "Clang")
    list(APPEND VL2_SANITIZE -fsanitize=fuzzer-no-link)
endif()

set_property(GLOBAL PROPERTY VL2_ROOM_TARGETS "")
set_property(GLOBAL PROPERTY VL2_ROOM_LIBS "")

function(vl2_flags target)
    target_compile_options(${target} PRIVATE ${VL2_WARNINGS} ${VL2_SANITIZE} -fvisibility=hidden
        -fno-math-errno -ffp-contract=off)
    target_link_options(${target} PRIVATE ${VL2_SANITIZE})
    target_compile_definitions(${target} PRIVATE VL2_SHARED _POSIX_C_SOURCE=200809L _DEFAULT_SOURCE)
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/include)
endfunction()

function(vl2_room name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LIBS;DEFINES" ${ARGN})
    add_library(vl2_room_${name} OBJECT ${ARG_SOURCES})
    vl2_flags(vl2_room_${name})
    target_include_directories(vl2_room_${name} PRIVATE ${CMAKE_SOURCE_DIR}/src)
    if(ARG_LIBS)
        target_link_libraries(vl2_room_${name} PRIVATE ${ARG_LIBS})
        set_property(GLOBAL APPEND PROPERTY VL2_ROOM_LIBS ${ARG_LIBS})
    endif()
    if(ARG_DEFINES)
        target_compile_definitions(vl2_room_${name} PRIVATE ${ARG_DEFINES})
    endif()
    set_property(GLOBAL APPEND PROPERTY VL2_ROOM_TARGETS vl2_room_${name})
endfunction()

function(vl2_isa_sources)
    cmake_parse_arguments(ARG "" "" "FILES;FLAGS" ${ARGN})
    set_source_files_properties(${ARG_FILES} PROPERTIES COMPILE_OPTIONS "${ARG_FLAGS}")
endfunction()

function(vl2_libraries)
    get_property(rooms GLOBAL PROPERTY VL2_ROOM_TARGETS)
    get_property(libs GLOBAL PROPERTY VL2_ROOM_LIBS)
    set(objects "")
    foreach(room ${rooms})
        list(APPEND objects $<TARGET_OBJECTS:${room}>)
    endforeach()
    add_library(vl2_static STATIC ${objects})
    add_library(vl2_shared SHARED ${objects})
    foreach(lib vl2_static vl2_shared)
        set_target_properties(${lib} PROPERTIES OUTPUT_NAME vl2 LINKER_LANGUAGE C
            VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR})
        string(REPLACE "vl2_" "" export ${lib}) # vl2::static, vl2::shared
        set_target_properties(${lib} PROPERTIES EXPORT_NAME ${export})
        target_include_directories(${lib} PUBLIC
            $<BUILD_INTERFACE:${CMAKE_SOURCE_DIR}/include> $<INSTALL_INTERFACE:include>)
        target_link_options(${lib} PUBLIC ${VL2_SANITIZE})
        target_link_libraries(${lib} PRIVATE ${libs} Threads::Threads m)
    endforeach()
endfunction()

function(vl2_test name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LIBS;LABELS;LINK_OPTIONS" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    vl2_flags(${name})
    target_include_directories(${name} PRIVATE ${CMAKE_SOURCE_DIR}/src ${CMAKE_SOURCE_DIR}/tests)
    target_compile_definitions(${name} PRIVATE VL2_TEST_GOLDEN="${CMAKE_SOURCE_DIR}/tests/golden"
        VL2_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    target_link_options(${name} PRIVATE ${ARG_LINK_OPTIONS})
    target_link_libraries(${name} PRIVATE vl2_static ${ARG_LIBS} PkgConfig::CMOCKA m Threads::Threads)
    add_test(NAME ${name} COMMAND ${name})
    get_filename_component(area ${CMAKE_CURRENT_SOURCE_DIR} NAME) # its folder is a label too
    set_tests_properties(${name} PROPERTIES LABELS "${area};${ARG_LABELS}" TIMEOUT 600)
endfunction()

function(vl2_python_test name)
    cmake_parse_arguments(ARG "" "FILE" "LABELS" ${ARGN})
    find_package(Python3 COMPONENTS Interpreter)
    if(NOT Python3_FOUND)
        return()
    endif()
    add_test(NAME ${name} COMMAND ${Python3_EXECUTABLE} -B ${CMAKE_CURRENT_SOURCE_DIR}/${ARG_FILE} -v)
    get_filename_component(area ${CMAKE_CURRENT_SOURCE_DIR} NAME)
    set_tests_properties(${name} PROPERTIES LABELS "${area};${ARG_LABELS}" TIMEOUT 900 ENVIRONMENT
        "VL2_PROGRAM=${CMAKE_BINARY_DIR}/cli/vl2;VL2_BUILD=${CMAKE_BINARY_DIR};VL2_SOURCE=${CMAKE_SOURCE_DIR};VL2_CC=${CMAKE_C_COMPILER};LSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/dev/lsan.supp:print_suppressions=0")
endfunction()
