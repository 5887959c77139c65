vl2_fuzz(json SOURCES fuzz_json.c)
