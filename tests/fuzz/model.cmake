vl2_fuzz(safetensors SOURCES fuzz_safetensors.c)
vl2_fuzz(config SOURCES fuzz_config.c)
