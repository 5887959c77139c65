vl2_fuzz(safetensors SOURCES fuzz_safetensors.c)
vl2_fuzz(config SOURCES fuzz_config.c)
vl2_fuzz(gguf SOURCES fuzz_gguf.c)
