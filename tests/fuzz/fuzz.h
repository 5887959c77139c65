/* fuzz.h - the one function of a fuzz target, as libFuzzer calls it. */
#ifndef VL2_TESTS_FUZZ_H
#define VL2_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
