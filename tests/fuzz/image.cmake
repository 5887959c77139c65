# One target for all formats, since the door is by content; a corpus for each.
vl2_fuzz(picture SOURCES fuzz_picture.c)
vl2_fuzz(boxes SOURCES fuzz_boxes.c)
