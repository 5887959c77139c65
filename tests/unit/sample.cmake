vl2_test(test_sampler SOURCES test_sampler.c LABELS unit)
