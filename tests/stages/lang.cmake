foreach(stage kv rope router moe decoder)
    vl2_test(test_${stage} SOURCES test_${stage}.c stage.c LABELS stages)
endforeach()
