vl2_test(test_stream SOURCES test_stream.c LABELS unit)
