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

sys.path.insert(0, str(SOURCE / "dev"))
from compare_traces import Trace  # noqa: E402

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

    def test_short_rows(self):
        """Where 256 does not divide a row: the mix's type for such rows; the careful ones have Q8_0."""
        for kind, short in (("Q6_K", "Q8_0"), ("Q5_K_M", "Q5_0"), ("Q5_K_S", "Q5_0"), ("Q4_K_M", "IQ4_NL"),
                            ("Q4_K_S", "IQ4_NL"), ("Q4_0", "Q4_0")):
            model = self.quantized(MINI, kind + ".gguf", "--type", kind)
            types = {t["name"]: t["type"]
                     for t in json.loads(self.good("inspect", model, "--tensors", "--json"))["tensors"]}
            self.assertEqual((types["blk.1.ffn_down_exps.weight"], types["output.weight"]), (short, "Q8_0"), kind)

    def test_halves(self):
        text = self.quantized(DEMO, "text.gguf", "--half", "text")
        vision = self.quantized(DEMO, "vision.gguf", "--half", "vision")
        self.assertTrue(self.good("run", "-q", "-m", text, "Hello"))
        for file, bytes_are_made in ((text, False), (DEMO, True)): # a half without a tower makes none of it bytes
            said = vl2("run", "-v", "-m", file, "--vision", "int8", "--max-tokens", "1", "Hello")
            self.assertEqual((said.returncode, b"in int8" in said.stderr), (0, bytes_are_made), said.stderr)
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


class Imatrix(ProgramTest):
    """An importance matrix: what `batch` sums up, and what `quantize` makes of it."""

    def setUp(self):
        super().setUp()
        talk = json.loads((CASES / "two_images_grounding.json").read_text())
        for message in talk:
            message["images"] = [str(CASES / i) for i in message.get("images", [])]
        self.talk = talk

    def gathered(self, *options):
        lines = self.write("in.jsonl", json.dumps({"id": 1, "messages": self.talk}) + "\n")
        self.good("batch", "-q", "-m", MINI, "--compute", "f32", lines, "-o", self.folder / "out.jsonl", "--imatrix",
                  self.folder / "im.gguf", *options)
        (self.folder / "out.jsonl").unlink()
        return Gguf(self.folder / "im.gguf")

    def floats(self, file, name):
        data = file.tensors[name][2]
        return struct.unpack(f"<{len(data) // 4}f", data)

    def test_sums(self):
        """One token of an answer: the head met one row, the last hidden row; each layer met the prompt's."""
        file = self.gathered("--max-tokens", "1")
        self.assertEqual(file.keys["general.type"], (8, "imatrix"))
        trace = self.folder / "trace.safetensors"
        talk = self.write("talk.json", json.dumps(self.talk))
        self.good("trace", "-q", "-m", MINI, "--compute", "f32", "--conversation", talk, "-o", trace, "--greedy", "0")
        seen = Trace(trace)
        tokens = seen.tensors["input_ids"]["shape"][0]
        last = max((n for n in seen.tensors if n.startswith("hidden")), key=lambda n: int(n.strip("hidden_.")))
        row = list(seen.values(last))[-seen.tensors[last]["shape"][-1]:]
        self.assertEqual(self.floats(file, "output.weight.counts"), (1,))
        for ours, x in zip(self.floats(file, "output.weight.in_sum2"), row, strict=True):
            self.assertAlmostEqual(ours, x * x, delta=1e-4 * x * x + 1e-9)
        self.assertEqual(self.floats(file, "blk.0.attn_k.weight.counts"), (tokens,))
        experts = self.floats(file, "blk.1.ffn_down_exps.weight.counts")
        config = json.loads((MINI / "config.json").read_text())["language_config"]
        self.assertEqual(sum(experts), tokens * config["num_experts_per_tok"])
        self.assertEqual(len(experts), config["n_routed_experts"])
        gate, up = (self.floats(file, f"blk.1.ffn_{k}_exps.weight.in_sum2") for k in ("gate", "up"))
        self.assertEqual(gate, up)
        shared = self.floats(file, "blk.1.ffn_gate_shexp.weight.in_sum2")
        every = [sum(gate[k::len(shared)]) for k in range(len(shared))]
        for ours, all_of in zip(every, shared):
            self.assertAlmostEqual(ours, all_of * config["num_experts_per_tok"], delta=1e-4 * ours)
        self.assertIn("v.blk.0.ffn_down.weight.in_sum2", file.tensors)

    def made(self, name, *options):
        self.good("quantize", MINI, self.folder / name, "-q", "--type", "Q4_K_M", *options)
        return (self.folder / name).read_bytes()

    def test_weighs(self):
        """Even sums change nothing, uneven ones do; an expert that was never met is as without."""
        file = self.gathered("--max-tokens", "4")
        plain = self.made("plain.gguf")
        self.assertNotEqual(self.made("weighed.gguf", "--imatrix", self.folder / "im.gguf"), plain)
        for name, (sizes, kind, data) in file.tensors.items():
            if name.endswith(".in_sum2"):
                file.tensors[name] = sizes, kind, struct.pack("<f", 2) * (len(data) // 4)
        even = file.write(self.folder / "even.gguf")
        self.assertEqual(self.made("even-sums.gguf", "--imatrix", even), plain)
        name, chosen = "blk.1.ffn_gate_exps.weight", 2
        sizes, kind, data = file.tensors[name + ".in_sum2"]
        row = 4 * sizes[0]
        uneven = struct.pack("<2f", 1, 400) * (sizes[0] // 2)
        file.tensors[name + ".in_sum2"] = sizes, kind, data[:chosen * row] + uneven + data[(chosen + 1) * row:]
        self.made("one.gguf", "--imatrix", file.write(self.folder / "one-expert.gguf"))
        before, after = (Gguf(self.folder / f"{n}.gguf").tensors[name][2] for n in ("plain", "one"))
        size = len(before) // sizes[1]
        differ = [e for e in range(sizes[1]) if before[e * size:(e + 1) * size] != after[e * size:(e + 1) * size]]
        self.assertEqual(differ, [chosen])
        for name, (sizes, kind, data) in file.tensors.items():
            uneven = struct.pack("<2f", 0, 1e9) * (len(data) // 8)
            file.tensors[name] = sizes, kind, bytes(len(data)) if name.endswith(".counts") else uneven
        self.assertEqual(self.made("unmet.gguf", "--imatrix", file.write(self.folder / "unmet.gguf")), plain)

    def refused(self, file, *contains):
        bad = file.write(self.folder / "bad.gguf")
        self.bad(1, "quantize", MINI, self.folder / "x.gguf", "-q", "--type", "Q4_K_M", "--imatrix", bad,
                 contains=["bad.gguf", *contains])
        self.assertFalse((self.folder / "x.gguf").exists())

    def test_broken(self):
        def changed(name, change):
            file = self.gathered("--max-tokens", "1")
            sizes, kind, data = file.tensors[name]
            file.tensors[name] = change(sizes, kind, data)
            return file

        name = "blk.0.attn_q.weight.in_sum2"
        for number in (float("nan"), float("inf"), -1.0):
            self.refused(changed(name, lambda s, k, d: (s, k, struct.pack("<f", number) + d[4:])), name[:-8])
        self.refused(changed(name, lambda s, k, d: ((s[0] // 2, 1), k, d[:len(d) // 2])), name[:-8], "sums")
        self.refused(changed(name, lambda s, k, d: ((s[0] * 2, 1), 1, d)), name, "F16", "F32")
        file = self.gathered("--max-tokens", "1")
        file.keys["general.type"] = (8, "model")
        self.refused(file, "importance matrix", '"model"')
        self.bad(1, "quantize", MINI, self.folder / "x.gguf", "-q", "--imatrix", self.folder / "none.gguf",
                 contains="none.gguf")

    def test_nowhere_to_write(self):
        """Said before anything is answered."""
        lines = self.write("in.jsonl", json.dumps({"id": 1, "messages": self.talk}) + "\n")
        self.bad(1, "batch", "-q", "-m", MINI, lines, "-o", self.folder / "out.jsonl", "--imatrix", "/nonexistent/im.gguf",
                 contains="/nonexistent")
        self.assertFalse((self.folder / "out.jsonl").exists())


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
