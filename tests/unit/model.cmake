foreach(file config dtype gguf quant safetensors checkpoint weights)
    vl2_test(test_${file} SOURCES test_${file}.c LABELS unit)
endforeach()
