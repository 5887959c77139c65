# What `cmake --install` leaves: headers, both libraries, vl2.pc, the CMake package `vl2` with the
# targets vl2::shared and vl2::static, and (cli/) the program.
#
# The static library's users link its dependencies themselves, so both package files must name them.
# A room's LIBS say what it links; this table says where a user finds that again.

set(VL2_PACKAGES # imported target = pkg-config module
    JANSSON=jansson
    PCRE2=libpcre2-8
    JPEG=libjpeg
    PNG=libpng
    WEBP=libwebp
    WEBPDEMUX=libwebpdemux
    GIF=libgif
    TIFF=libtiff-4
    PANGOCAIRO=pangocairo
    CAIRO=cairo)

# *out_modules: the pkg-config modules of the rooms' libraries; *out_finds: the lines of the CMake
# package that make their targets.
function(vl2_dependencies out_modules out_finds)
    get_property(libs GLOBAL PROPERTY VL2_ROOM_LIBS)
    list(REMOVE_DUPLICATES libs)
    set(modules "")
    set(finds "")
    foreach(lib ${libs})
        if(lib STREQUAL "Threads::Threads" OR lib STREQUAL "m")
            continue()
        endif()
        set(module "")
        foreach(row ${VL2_PACKAGES})
            string(REPLACE "=" ";" pair ${row})
            list(GET pair 0 name)
            if(lib STREQUAL "PkgConfig::${name}")
                list(GET pair 1 module)
                string(APPEND finds
                    "    pkg_check_modules(${name} REQUIRED QUIET IMPORTED_TARGET ${module})\n")
            endif()
        endforeach()
        if(module STREQUAL "")
            message(FATAL_ERROR "cmake/Vl2Install.cmake: a room links ${lib}, which VL2_PACKAGES "
                "does not have; add its pkg-config module there")
        endif()
        list(APPEND modules ${module})
    endforeach()
    list(JOIN modules " " modules)
    set(${out_modules} "${modules}" PARENT_SCOPE)
    set(${out_finds} "${finds}" PARENT_SCOPE)
endfunction()

function(vl2_install)
    include(CMakePackageConfigHelpers)
    vl2_dependencies(VL2_REQUIRES_PRIVATE VL2_FIND_PRIVATE)
    set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/vl2)

    install(TARGETS vl2_static vl2_shared EXPORT vl2Targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
    install(FILES ${CMAKE_SOURCE_DIR}/include/vl2/vl2.h ${CMAKE_SOURCE_DIR}/include/vl2/vl2_dev.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/vl2)
    install(FILES ${CMAKE_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

    configure_file(${CMAKE_SOURCE_DIR}/cmake/vl2.pc.in ${CMAKE_BINARY_DIR}/vl2.pc @ONLY)
    install(FILES ${CMAKE_BINARY_DIR}/vl2.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

    install(EXPORT vl2Targets NAMESPACE vl2:: DESTINATION ${package_dir})
    configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/vl2Config.cmake.in
        ${CMAKE_BINARY_DIR}/vl2Config.cmake INSTALL_DESTINATION ${package_dir})
    write_basic_package_version_file(${CMAKE_BINARY_DIR}/vl2ConfigVersion.cmake
        VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
    install(FILES ${CMAKE_BINARY_DIR}/vl2Config.cmake ${CMAKE_BINARY_DIR}/vl2ConfigVersion.cmake
        DESTINATION ${package_dir})
endfunction()
