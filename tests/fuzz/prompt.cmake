vl2_fuzz(tokenizer SOURCES fuzz_tokenizer.c)
