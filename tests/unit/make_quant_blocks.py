#!/usr/bin/env python3
"""Writes quant_blocks.h: blocks of random bytes and what PyPI's `gguf` package decodes them to.

    pip install gguf && tests/unit/make_quant_blocks.py > tests/unit/quant_blocks.h
"""
import numpy as np
import gguf

HALVES = {"Q6_K": [208], "Q8_0": [0], "Q4_0": [0], "Q5_0": [0], "IQ4_NL": [0]}
TYPES = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K"]


def lines(values, width):
    for i in range(0, len(values), width):
        yield "    " + " ".join(v + "," for v in values[i:i + width])


def main():
    rng = np.random.default_rng(7)
    print("/* Made by make_quant_blocks.py with the gguf package", "0.19", "- do not edit. */")
    print("/* clang-format off */")
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        raw = rng.integers(0, 256, (2, size), dtype=np.uint8)
        for at in HALVES.get(name, [0, 2]):
            halves = rng.standard_normal(2).astype(np.float16).view(np.uint16)
            raw[:, at], raw[:, at + 1] = halves & 255, halves >> 8
        bits = gguf.quants.dequantize(raw, kind).astype(np.float32).view(np.uint32).ravel()
        print(f"static const unsigned char {name.lower()}_blocks[] = {{")
        print("\n".join(lines([f"{b}" for b in raw.ravel()], 24)) + "\n};")
        print(f"static const uint32_t {name.lower()}_values[] = {{")
        print("\n".join(lines([f"0x{b:08x}" for b in bits], 8)) + "\n};")


if __name__ == "__main__":
    main()
