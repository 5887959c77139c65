vl2_test(test_boxes SOURCES test_boxes.c LABELS unit)
vl2_test(test_draw SOURCES test_draw.c LABELS unit)
