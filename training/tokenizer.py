"""Builds the demo checkpoint's tokenizer.json, in the form of the published vocabulary of 129280.

    python -m training.tokenizer models/demo
Byte-level BPE with the same pre-tokenizer expressions, 0 to 999 as single tokens, the same special tokens;
the merges come from the words of vocabulary.json alone. Those are fixed: trained weights depend on every id, so
wordings that came later are spelt with the pieces that there are.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

BOS, EOS, PAD = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜▁pad▁｜>"
ADDED = ["<image>", "<|ref|>", "<|/ref|>", "<|det|>", "<|/det|>", "<|grounding|>", "<|User|>", "<|Assistant|>"]
NUMBERS = r"\p{N}{1,3}"
CJK = "[一-龥\u3040-ゟ゠-ヿ]+"
OTHER = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+"
         "| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")


def byte_letters() -> dict[int, str]:
    """The usual printable stand-in of each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    out = {b: chr(b) for b in plain}
    return out | {b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in out)}


def fixed_words() -> Counter[str]:
    """The words that deserve one token, with what each counts."""
    groups = json.loads((Path(__file__).parent / "vocabulary.json").read_text())
    return Counter({w: int(count) for count, words in groups.items() for w in words})


def learn_merges(words: Counter[str]) -> list[tuple[str, str]]:
    """Plain BPE until every word is one token; the most frequent pair first, ties by spelling."""
    letters = byte_letters()
    split = {w: [letters[b] for b in w.encode()] for w in words}
    merges = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for w, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[w]
        if not pairs:
            return merges
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for parts in split.values():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = ["".join(best)]
                i += 1


def build(small: bool = False) -> dict:
    """The file; small: bytes and special tokens alone."""
    letters = byte_letters()
    vocab = {t: i for i, t in enumerate([BOS, EOS, PAD])}
    for b in sorted(letters.values()):
        vocab[b] = len(vocab)
    merges: list[tuple[str, str]] = []
    for n in range(10, 10 if small else 1000):
        tail_first = n >= 100 and 10 <= n % 100 < n // 10      # the pair of lower rank joins first
        cut = 1 if tail_first else -1
        merges.append((str(n)[:cut], str(n)[cut:]))
    merges += [] if small else learn_merges(fixed_words())
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    added = [(vocab[t], t) for t in (BOS, EOS, PAD)] + [(len(vocab) + i, t) for i, t in enumerate(ADDED)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}

    def expression(regex: str) -> dict:
        return {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}

    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    outer = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": t, **flags} for i, t in added],
        "normalizer": {"type": "Sequence", "normalizers": []},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers":
                          [expression(NUMBERS), expression(CJK), expression(OTHER), level]},
        "post_processor": {**outer, "trim_offsets": False}, "decoder": outer,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": vocab, "merges": [" ".join(m) for m in merges]}}


TOKENIZER_CONFIG = {
    "bos_token": BOS, "eos_token": EOS, "pad_token": PAD, "unk_token": None, "add_bos_token": True,
    "add_eos_token": False, "clean_up_tokenization_spaces": False, "model_max_length": 4096,
    "tokenizer_class": "LlamaTokenizerFast", "use_default_system_prompt": False, "legacy": True,
    "sp_model_kwargs": {}}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(build(), ensure_ascii=False, indent=1))
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
