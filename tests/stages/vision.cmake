foreach(stage siglip projector mosaic)
    vl2_test(test_${stage} SOURCES test_${stage}.c stage.c LABELS stages)
endforeach()
