vl2_test(test_decode SOURCES test_decode.c LABELS unit)
vl2_test(test_resize SOURCES test_resize.c LABELS unit)
vl2_test(test_views SOURCES test_views.c LABELS unit)
vl2_test(test_encode SOURCES test_encode.c LABELS unit)
