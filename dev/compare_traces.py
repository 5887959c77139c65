#!/usr/bin/env python3
"""Compares two trace files (`vl2 trace`, or what the reference computed), tensor by tensor.

    dev/compare_traces.py OURS.safetensors REFERENCE.safetensors [--tolerance 1e-4]

Integers must be equal. Floats are measured as max |a - b| / rms(b), b being the reference; a NaN is
infinitely far. Tensors that only one file has are named, and compared where both have them. With
hidden states or logits of different numbers of positions, the last ones are compared. Exit status:
0 if all agree within the tolerance, 1 if not, 2 if the files cannot be compared. Needs only Python.
"""
import argparse
import array
import json
import math
import re
import struct
import sys

CODES = {"F32": "f", "F64": "d", "I32": "i", "I64": "q", "U8": "B", "I8": "b", "BOOL": "B"}
MAX_HEADER = 100 << 20


class Trace:
    """A safetensors file: an 8-byte header length, JSON, data."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as file:
            start = file.read(8)
            if len(start) < 8:
                raise ValueError(f"{path}: {len(start)} bytes, expected a safetensors file")
            size = struct.unpack("<Q", start)[0]
            if size > MAX_HEADER:
                raise ValueError(f"{path}: a header of {size} bytes, expected a safetensors file")
            try:
                header = json.loads(file.read(size))
            except ValueError as error:
                raise ValueError(f"{path}: the header is not JSON: {error}") from error
        header.pop("__metadata__", None)
        self.tensors, self.base = header, 8 + size

    def values(self, name):
        tensor = self.tensors[name]
        if tensor["dtype"] not in CODES:
            raise ValueError(f"{self.path}: {name} is {tensor['dtype']}, expected one of {', '.join(CODES)}")
        first, end = tensor["data_offsets"]
        out = array.array(CODES[tensor["dtype"]])
        with open(self.path, "rb") as file:
            file.seek(self.base + first)
            data = file.read(end - first)
        if len(data) != end - first:
            raise ValueError(f"{self.path}: the data of {name} is cut off")
        out.frombytes(data)
        if sys.byteorder == "big":
            out.byteswap()
        return out


def distance(a, b):
    """max |a - b| / rms(b)"""
    worst = max((abs(x - y) if math.isfinite(x - y) else math.inf for x, y in zip(a, b)), default=0.0)
    if worst == 0:
        return 0.0
    rms = math.sqrt(math.fsum(y * y for y in b) / len(b))
    return worst / rms if rms > 0 else math.inf


def same_positions(name, a, a_shape, b, b_shape):
    """The last positions, where one file has more of them than the other."""
    if re.fullmatch(r"hidden\.\d+|logits", name) and a_shape[1:] == b_shape[1:]:
        rows = min(a_shape[0], b_shape[0])
        width = math.prod(a_shape[1:])
        return a[len(a) - rows * width:], b[len(b) - rows * width:]
    return (a, b) if a_shape == b_shape else None


def compare(ours, reference, name):
    """A line about one tensor, and its distance (inf when it is wrong)."""
    mine, theirs = ours.tensors[name], reference.tensors[name]
    if mine["dtype"] != theirs["dtype"]:
        return f"{mine['dtype']}, expected {theirs['dtype']}", math.inf
    pair = same_positions(name, ours.values(name), mine["shape"], reference.values(name), theirs["shape"])
    if pair is None:
        return f"shape {mine['shape']}, expected {theirs['shape']}", math.inf
    if mine["dtype"] in ("F32", "F64"):
        far = distance(*pair)
        return f"{far:.3g}", far
    wrong = next((i for i, (x, y) in enumerate(zip(*pair)) if x != y), None)
    if wrong is None:
        return "equal", 0.0
    return f"differs first at {wrong}: {pair[0][wrong]}, expected {pair[1][wrong]}", math.inf


def natural(name):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("ours")
    parser.add_argument("reference")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    options = parser.parse_args()
    try:
        ours, reference = Trace(options.ours), Trace(options.reference)
        both = sorted(set(ours.tensors) & set(reference.tensors), key=natural)
        bad = 0
        for name in both:
            text, far = compare(ours, reference, name)
            wrong = not far <= options.tolerance
            bad += wrong
            print(f"{name:20} {text}{'   <-- over the tolerance' if wrong else ''}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"compare_traces: {error}", file=sys.stderr)
        return 2
    for name in sorted(set(ours.tensors) ^ set(reference.tensors), key=natural):
        print(f"{name:20} only in {ours.path if name in ours.tensors else reference.path}")
    if not both:
        print("compare_traces: the files have no tensor in common", file=sys.stderr)
        return 2
    print(f"{len(both)} tensors compared, {bad} over {options.tolerance:g}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
