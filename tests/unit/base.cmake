foreach(file arena beneath buf file json sha256 utf8)
    vl2_test(test_${file} SOURCES test_${file}.c LABELS unit)
endforeach()
vl2_test(test_pool SOURCES test_pool.c LABELS "unit;threads")
