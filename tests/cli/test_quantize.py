"""vl2 quantize, and GGUF files in all commands: ours, others', broken ones."""
import json
import resource
import shutil
import signal
import struct
import subprocess
import sys
import unittest

from gguf_file import Gguf
from program import CASES, GOLDEN, MINI, PROGRAM, SOURCE, ProgramTest, environment, vl2

DEMO = SOURCE / "models/demo"
EXAMPLES = json.loads((DEMO / "examples.json").read_text())
PLAIN = next(e for e in EXAMPLES if "<|" not in e["prompt"])  # its answer is a word: right, or wrong


def question(example):
    return [w for name in example["images"] for w in ("-i", DEMO / name)] + [example["prompt"]]


class Quantize(ProgramTest):
    def quantized(self, source, name, *options):
        path = self.folder / name
        self.good("quantize", source, path, "-q", *options)
        return path

    def test_the_reference_numbers(self):
        """float32 GGUF files of all fixtures give the goldens' numbers: names, shapes, both halves of kv_b."""
        for folder in sorted(GOLDEN.glob("mini-*")):
            model = self.quantized(folder, folder.name + ".gguf", "--type", "F32")
            for name in ("text", "two_images_grounding"):
                trace = self.folder / "trace.safetensors"
                conversation = folder / "golden" / (name + ".json")
                if not conversation.exists():
                    continue
                self.good("trace", "-q", "-m", model, "--compute", "f32", "--conversation", conversation, "-o", trace)
                done = subprocess.run([sys.executable, SOURCE / "dev/compare_traces.py", trace,
                                       folder / "golden" / (name + ".safetensors")], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, f"{folder.name} {name}\n{done.stdout}")

    def test_answers_stay(self):
        q8 = self.quantized(DEMO, "q8.gguf", "--type", "Q8_0")
        self.assertLess(q8.stat().st_size, (DEMO / "model.safetensors").stat().st_size * 0.75)
        for example in EXAMPLES[:6]:
            self.assertEqual(self.good("run", "-q", "-m", q8, *question(example)),
                             self.good("run", "-q", "-m", DEMO, *question(example)), example["prompt"])

    def test_every_type_answers(self):
        for kind in ("BF16", "F16", "Q6_K", "Q5_K_M", "Q5_K_S", "Q4_K_M", "Q4_K_S", "IQ4_NL", "Q4_0"):
            model = self.quantized(DEMO, kind + ".gguf", "--type", kind)
            said = self.good("run", "-q", "-m", model, *question(PLAIN)).strip()
            self.assertEqual(said, PLAIN["shows"], kind)
            exact = self.good("run", "-q", "-m", model, "--compute", "f32", *question(PLAIN)).strip()
            self.assertEqual(exact, PLAIN["shows"], kind)

    def test_levels_agree(self):
        """The kernels of every CPU level bring the same answer."""
        model = self.quantized(DEMO, "q4.gguf", "--type", "Q4_K_M", "--vision-type", "Q8_0")
        said = {self.good("run", "-q", "-m", model, "--cpu", level, *question(PLAIN))
                for level in ("c", *self.good("version").split("levels")[-1].replace(",", " ").split())
                if vl2("version", "--cpu", level).returncode in (0, 2) and level in ("c", "avx2", "avx512")}
        self.assertEqual(said, {PLAIN["shows"] + "\n"})

    def test_types_by_name(self):
        model = self.quantized(DEMO, "mixed.gguf", "--type", "Q8_0", "--tensor", "blk.0.attn_*=BF16", "--tensor",
                               "output.weight=Q6_K")
        types = {t["name"]: t["type"] for t in json.loads(self.good("inspect", model, "--tensors", "--json"))["tensors"]}
        self.assertEqual((types["blk.0.attn_output.weight"], types["blk.1.attn_output.weight"], types["output.weight"],
                          types["output_norm.weight"]), ("BF16", "Q8_0", "Q6_K", "F32"))
        self.bad(2, "quantize", DEMO, self.folder / "x.gguf", "--tensor", "*=Q3_K", contains=["Q3_K", "Q4_K"])
        self.bad(2, "quantize", DEMO, self.folder / "x.gguf", "--tensor", "nothing", contains="PATTERN=TYPE")
        self.bad(2, "quantize", DEMO, self.folder / "x.gguf", "--type", "Q9", contains=["Q9", "Q8_0"])
        self.usage("quantize", DEMO, self.folder / "x.bin", contains=".gguf")
        self.assertFalse((self.folder / "x.gguf").exists())

    def test_halves(self):
        text = self.quantized(DEMO, "text.gguf", "--half", "text")
        vision = self.quantized(DEMO, "vision.gguf", "--half", "vision")
        self.assertTrue(self.good("run", "-q", "-m", text, "Hello"))
        self.bad(1, "run", "-q", "-m", text, *question(PLAIN), contains="--mmproj")
        self.bad(1, "run", "-q", "-m", vision, "Hello", contains="--mmproj")
        said = self.good("run", "-q", "-m", text, "--mmproj", vision, *question(PLAIN)).strip()
        self.assertEqual(said, PLAIN["shows"])
        again = self.folder / "again.gguf"
        self.good("quantize", text, again, "-q", "--mmproj", vision, "--type", "Q4_0")
        self.assertEqual(self.good("run", "-q", "-m", again, *question(PLAIN)).strip(), PLAIN["shows"])

    def test_other_commands(self):
        model = self.quantized(MINI, "mini.gguf", "--type", "Q8_0")
        folder = self.good("tokenize", "-m", MINI, "--", "Hello <image> 图片 123")
        self.assertEqual(self.good("tokenize", "-m", model, "--", "Hello <image> 图片 123"), folder)
        said = json.loads(self.good("inspect", model, "--json"))
        self.assertEqual((said["name"], said["layers"], said["vocab_size"]), ("mini", 4, 576))
        self.good("bench", "-q", "-m", model, "--json", "--repeat", "1", "--decode-tokens", "2")
        lines = self.write("in.jsonl", '{"id": 1, "messages": [{"role": "<|User|>", "content": "a"}, '
                           '{"role": "<|Assistant|>", "content": ""}]}\n')
        self.good("batch", "-q", "-m", model, lines, "-o", self.folder / "out.jsonl", "--max-tokens", "3")
        self.assertIsNone(json.loads((self.folder / "out.jsonl").read_text()).get("error"))


class Others(ProgramTest):
    """Files with the keys and lists that programs share, and nothing of ours."""

    def foreign(self, source, name, change=lambda file: None):
        path = self.folder / name
        self.good("quantize", source, path, "-q", "--type", "F32", "--half", "text")
        file = Gguf(path)
        for key in [k for k in file.keys if k.startswith("vl2.") or k == "tokenizer.huggingface.json"]:
            del file.keys[key]
        change(file)
        return file.write(path)

    def logits_of(self, model, folder):
        """The golden's text conversation: its input, and the reference's greedy ids."""
        trace = self.folder / "trace.safetensors"
        self.good("trace", "-q", "-m", model, "--compute", "f32", "--conversation", folder / "golden/text.json", "-o",
                  trace)
        done = subprocess.run([sys.executable, SOURCE / "dev/compare_traces.py", trace,
                               folder / "golden/text.safetensors"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_the_reference_numbers(self):
        for name in ("mini-tiny", "mini-small", "mini-base"):
            self.logits_of(self.foreign(GOLDEN / name, name + ".gguf"), GOLDEN / name)

    def test_whole_kv_b(self):
        """Older files have kv_b as published."""
        def change(file):
            for i in range(100):
                keys = file.tensors.pop(f"blk.{i}.attn_k_b.weight", None)
                if not keys:
                    break
                (nope, low, heads), kind, k = keys
                (_, dim, _), _, v = file.tensors.pop(f"blk.{i}.attn_v_b.weight")
                self.assertEqual(kind, 0)
                k, v = (struct.unpack(f"<{len(x) // 4}f", x) for x in (k, v))
                rows = []
                for h in range(heads):
                    rows += [k[(h * low + c) * nope + n] for n in range(nope) for c in range(low)]
                    rows += v[h * dim * low:(h + 1) * dim * low]
                file.tensors[f"blk.{i}.attn_kv_b.weight"] = ((low, heads * (nope + dim)), 0,
                                                             struct.pack(f"<{len(rows)}f", *rows))
        self.logits_of(self.foreign(GOLDEN / "mini-small", "old.gguf", change), GOLDEN / "mini-small")

    def test_permuted_queries(self):
        """Architecture deepseek: rows of q and k permuted so that rotated pairs are neighbours."""
        def change(file):
            heads, kv_heads = (file.keys["deepseek2-ocr.attention." + k][1] for k in ("head_count", "head_count_kv"))
            for name, (sizes, kind, data) in list(file.tensors.items()):
                if not name.endswith(("attn_q.weight", "attn_k.weight")):
                    continue
                n = heads if "attn_q" in name else kv_heads
                size, dim = 4 * sizes[0], sizes[1] // n
                rows = [data[i * size:(i + 1) * size] for i in range(sizes[1])]
                order = [h * dim + (i // 2 + i % 2 * dim // 2) for h in range(n) for i in range(dim)]
                file.tensors[name] = (sizes, kind, b"".join(rows[i] for i in order))
            for key in list(file.keys):
                if key.startswith("deepseek2-ocr."):
                    file.keys[key.replace("-ocr", "", 1).replace("deepseek2", "deepseek")] = file.keys.pop(key)
            file.keys["general.architecture"] = (8, "deepseek")
        self.logits_of(self.foreign(MINI, "permuted.gguf", change), MINI)

    def test_split_files(self):
        whole = self.folder / "whole.gguf"
        self.good("quantize", MINI, whole, "-q", "--type", "F32")
        names = list(Gguf(whole).tensors)
        for part in range(3):
            file = Gguf(whole)
            file.keys = file.keys if part == 0 else {}
            file.keys |= {"split.no": (2, part), "split.count": (2, 3), "split.tensors.count": (5, len(names))}
            file.tensors = {n: file.tensors[n] for n in names[part::3]}
            file.write(self.folder / f"split-{part + 1:05}-of-00003.gguf")
        self.logits_of(self.folder / "split-00001-of-00003.gguf", MINI)
        (self.folder / "split-00002-of-00003.gguf").unlink()
        self.bad(1, "run", "-q", "-m", self.folder / "split-00001-of-00003.gguf", "x", contains="00002-of-00003")

    def test_refusals(self):
        def broken(name, change, *contains):
            path = self.foreign(MINI, name + ".gguf", change)
            self.bad(1, "run", "-q", "-m", path, "x", contains=[name + ".gguf", *contains])

        def arch(file):
            file.keys["general.architecture"] = (8, "llama")

        def missing(file):
            del file.tensors["blk.1.ffn_norm.weight"]

        def shape(file):
            (rows, cols), kind, data = file.tensors["output.weight"]
            file.tensors["output.weight"] = ((rows, cols // 2), kind, data[:len(data) // 2])

        def pre(file):
            file.keys["tokenizer.ggml.pre"] = (8, "gpt-4o")

        def number(file):
            file.keys["deepseek2-ocr.block_count"] = (8, "four")
        broken("arch", arch, "general.architecture", "llama", "deepseek2")
        broken("missing", missing, "blk.1.ffn_norm.weight", "missing")
        broken("shape", shape, "output.weight", "expected")
        broken("pre", pre, "tokenizer.ggml.pre", "gpt-4o")
        broken("number", number, "deepseek2-ocr.block_count")


class Broken(ProgramTest):
    def setUp(self):
        super().setUp()
        self.model = self.folder / "model.gguf"
        self.good("quantize", MINI, self.model, "-q", "--type", "Q8_0")
        self.bytes = self.model.read_bytes()

    def refused(self, data, *contains):
        path = self.write("broken.gguf", bytes(data))
        self.bad(1, "run", "-q", "-m", path, "x", contains=["broken.gguf", *contains])

    def test_cut_off(self):
        for size in (0, 3, 4, 8, 23, 24, 40, 1000, Gguf(self.model).head - 1, len(self.bytes) // 2,
                     len(self.bytes) - 33):
            self.refused(self.bytes[:size])

    def test_numbers_that_lie(self):
        for at, form, value, word in ((0, "<I", 0x46554746, "GGUF"), (4, "<I", 7, "version 7"),
                                      (4, "<I", 3 << 24, "big-endian"), (8, "<Q", 1 << 60, "tensors"),
                                      (16, "<Q", 1 << 40, "keys"), (24, "<Q", 1 << 63, "key"), (24, "<Q", 0, "key")):
            data = bytearray(self.bytes)
            struct.pack_into(form, data, at, value)
            self.refused(data, word)

    def test_types_that_are_not_read(self):
        at = self.bytes.index(b"blk.0.attn_q.weight") + len(b"blk.0.attn_q.weight") + 4 + 16
        for number, name in ((10, "Q2_K"), (23, "IQ4_XS"), (77, "unknown")):
            data = bytearray(self.bytes)
            struct.pack_into("<I", data, at, number)
            self.refused(data, "blk.0.attn_q.weight", name, "Q4_K")

    def test_names_there_twice(self):
        self.refused(self.bytes.replace(b"blk.1.attn_q.weight", b"blk.0.attn_q.weight"), "blk.0.attn_q.weight")
        self.refused(self.bytes.replace(b"general.alignment", b"general.file_type"), "general.file_type", "twice")


class Atomic(ProgramTest):
    def test_full_disk(self):
        """Writing fails in the middle: one line, the old file as it was, and nothing beside it."""
        target = self.folder / "model.gguf"
        target.write_bytes(b"old")

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        done = subprocess.run([PROGRAM, "quantize", DEMO, target], capture_output=True, preexec_fn=limit,
                              env=environment())
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
        self.assertIn(b"model.gguf", done.stderr)
        self.assertEqual([p.name for p in self.folder.iterdir()], ["model.gguf"])
        self.assertEqual(target.read_bytes(), b"old")

    def test_no_such_place(self):
        self.bad(1, "quantize", MINI, self.folder / "none/model.gguf", contains="none/model.gguf")
        self.bad(1, "quantize", self.folder / "nothing", self.folder / "model.gguf", contains="nothing")
        self.assertEqual(list(self.folder.iterdir()), [])

    def test_onto_itself(self):
        path = self.folder / "model.gguf"
        self.good("quantize", MINI, path, "-q", "--type", "Q8_0")
        before = path.read_bytes()
        shutil.copy(path, self.folder / "copy.gguf")
        self.good("quantize", path, path, "-q", "--type", "Q8_0")
        self.assertEqual(path.read_bytes(), before)


if __name__ == "__main__":
    unittest.main()
