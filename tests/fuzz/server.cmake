if(TARGET vl2_server)
    vl2_fuzz(request SOURCES fuzz_request.c LIBS vl2_server)
endif()
