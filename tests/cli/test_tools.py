"""vl2 inspect, tokenize, detokenize, trace, bench."""
import csv
import io
import json
import re
import struct
import subprocess
import sys
import unittest
import xml.dom.minidom

from program import CASES, GOLDEN, MINI, PROGRAM, SOURCE, ProgramTest, case, vl2


def safetensors(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + size + t["data_offsets"][0] : 8 + size + t["data_offsets"][1]])
            for name, t in header.items()}


class Inspect(ProgramTest):
    def test_words(self):
        said = self.good("inspect", MINI)
        for text in ("mini-tiny", "licence", "million", "8 a layer, 3 of them for each token", "Memory it takes",
                     "BF16" if "BF16" in said else "F32"):
            self.assertIn(text, said)

    def test_json_and_tensors(self):
        out = json.loads(self.good("inspect", MINI, "--json", "--tensors"))
        self.assertEqual((out["layers"], out["experts"], out["vocab_size"]), (4, 8, 576))
        self.assertEqual(out["memory"]["total"], sum(v for k, v in out["memory"].items() if k != "total"))
        names = {t["name"]: t for t in out["tensors"]}
        self.assertEqual(names["language.lm_head.weight"]["shape"], [576, 64])
        listed = self.good("inspect", MINI, "--tensors").split("\nTensors\n")[1].strip().split("\n")
        self.assertEqual(len(listed), len(names))

    def test_every_fixture(self):
        for folder in sorted(GOLDEN.glob("mini-*")):
            self.assertIn(folder.name, self.good("inspect", folder))

    def test_nothing_there(self):
        self.bad(1, "inspect", "/nonexistent", contains="/nonexistent")
        self.bad(1, "inspect", "no-such-model", contains=["no-such-model", "vl2 pull"],
                 XDG_DATA_HOME=str(self.folder))
        self.bad(1, "inspect", self.folder, contains="config.json")


class Tokenize(ProgramTest):
    def test_there_and_back(self):
        for text in ("Hello, world", "图片里有什么?", "<|ref|>a<|/ref|> <image>\n", " a  b\t\n", ""):
            ids = self.good("tokenize", "-m", MINI, stdin=text)
            self.assertEqual(self.good("detokenize", "-m", MINI, stdin=ids), text + "\n")
            self.assertEqual(self.good("detokenize", "-m", MINI, "--", *ids.split()) if ids.strip() else text + "\n",
                             text + "\n")
            if text:
                self.assertEqual(self.good("tokenize", "-m", MINI, "--", text), ids)

    def test_special_tokens(self):
        ids = case("text")["special_ids"]
        self.assertEqual(self.good("tokenize", "-m", MINI, "<|ref|><image>").split(),
                         [str(ids["<|ref|>"]), str(ids["<image>"])])

    def test_tokenizer_alone(self):
        alone = self.folder / "tokenizer.json"
        alone.write_bytes((MINI / "tokenizer.json").read_bytes())
        expected = self.good("tokenize", "-m", MINI, "Hello, world")
        self.assertEqual(self.good("tokenize", "-m", alone, "Hello, world"), expected)
        self.assertEqual(self.good("tokenize", "-m", self.folder, "Hello, world"), expected)

    def test_lines(self):
        texts = ["Hello", "a\nb", "", "\u4e2d\u6587 \U0001f600", 'quote " and \\', "nul \u0000 inside"]
        ids = self.good("tokenize", "-m", MINI, "--jsonl", stdin="".join(json.dumps(t) + "\n" for t in texts))
        rows = [json.loads(line) for line in ids.splitlines()]
        self.assertEqual(len(rows), len(texts))
        for text, row in zip(texts[:4], rows):
            if "\n" not in text:
                self.assertEqual(self.good("tokenize", "-m", MINI, "--", text).split(), [str(i) for i in row])
        back = self.good("detokenize", "-m", MINI, "--jsonl", stdin=ids)
        self.assertEqual([json.loads(line) for line in back.splitlines()], texts)

    def test_wrong_input(self):
        self.bad(1, "tokenize", "-m", MINI, "--jsonl", stdin='"good"\n5\n', contains="line 2")
        self.bad(1, "tokenize", "-m", MINI, "--jsonl", stdin='"good"\n{broken\n', contains="line 2")
        self.bad(2, "tokenize", "-m", MINI, stdin=b"bad \xff byte", contains="UTF-8")
        self.bad(1, "detokenize", "-m", MINI, "12", "x3", contains='"x3" is no id')
        self.bad(1, "detokenize", "-m", MINI, stdin="99999999999999999999", contains="is no id")
        self.bad(1, "detokenize", "-m", MINI, "--jsonl", stdin='[1, "2"]\n', contains="element 1")
        self.usage("tokenize", "-m", MINI, "--jsonl", "text", contains="--jsonl")
        broken = self.write("tokenizer.json", '{"model": {"type": "BPE", "vocab": {"a": 0}}}')
        self.bad(1, "tokenize", "-m", broken, "a", contains="tokenizer.json")


class Trace(ProgramTest):
    def test_trace_has_the_reference_s_tensors(self):
        for name in ("text", "one_image"):
            to = self.folder / f"{name}.safetensors"
            self.good("trace", "-m", MINI, "--compute", "f32", "--conversation", CASES / f"{name}.json", "-o", to,
                      "--greedy", "24")
            ours, reference = safetensors(to), safetensors(CASES / f"{name}.safetensors")
            self.assertEqual(set(ours), set(reference))
            for key in ("input_ids", "images_seq_mask", "spatial_crop", "tiles", "greedy_ids"):
                if key in reference and not (key == "tiles" and name == "text"):
                    self.assertEqual(ours[key], reference[key], key)
            for key, (kind, shape, data) in reference.items():
                if kind == "F32":
                    self.assertEqual(ours[key][:2], (kind, shape), key)
                    a, b = (struct.unpack(f"<{len(x) // 4}f", x) for x in (ours[key][2], data))
                    rms = (sum(x * x for x in b) / max(1, len(b))) ** 0.5
                    self.assertLess(max(map(lambda x, y: abs(x - y), a, b), default=0), 1e-4 * rms, key)

    def test_all_positions(self):
        to = self.folder / "t.safetensors"
        self.good("trace", "-m", MINI, "--conversation", CASES / "text.json", "-o", to, "--positions", "all",
                  "--greedy", "1")
        tensors = safetensors(to)
        self.assertEqual(tensors["logits"][1], [case("text")["tokens"], 576])

    def test_a_disk_that_cannot_be_written(self):
        self.bad(1, "trace", "-m", MINI, "--conversation", CASES / "text.json", "-o", "/nonexistent/t.safetensors",
                 contains="/nonexistent")


class Bench(ProgramTest):
    SHORT = ("--repeat", "1", "--prompt", "64", "--context", "70", "--sequences", "1,3", "--views", "2",
             "--decode-tokens", "2")

    def rows(self, *words):
        rows = list(csv.DictReader(io.StringIO(self.good("bench", *words, *self.SHORT, "--csv"))))
        peaks = {row["of"]: float(row["rate"]) for row in rows[:4]}
        self.assertEqual({row["stage"] for row in rows[:4]}, {"peak"})
        self.assertEqual(list(peaks), ["float32", "bfloat16", "int8", "memory"])
        self.assertGreater(min(peaks["float32"], peaks["memory"]), 0)
        return rows[4:]

    def test_table_json_csv(self):
        stages = ["load"] * 4 + ["image"] * 2 + ["vision", "projector", "prefill", "decode", "decode"] + ["memory"] * 2
        table = self.good("bench", "-m", MINI, *self.SHORT)
        self.assertEqual([line.split()[0] for line in table.strip().split("\n")[4:]], stages)
        out = json.loads(self.good("bench", "-m", MINI, *self.SHORT, "--json", "--prompt", "16,32",
                                   "--stages", "prefill,memory"))
        self.assertEqual([r["stage"] for r in out["stages"]], ["prefill"] * 3 + ["memory"] * 2)
        self.assertTrue(all(0 < r["best_ms"] <= r["ms"] for r in out["stages"] if r["stage"] != "memory"))
        self.assertGreater(out["peaks"]["read_gb_s"], 0)
        rows = self.rows("-m", MINI, "--stages", "vision,decode")
        self.assertEqual([r["stage"] for r in rows], ["vision", "projector", "decode", "decode"])
        for row in rows: # several sequences, too: what they read together
            self.assertGreater(float(row["share_percent"]), 0, row)
        decode = [(r["size"], r["context"]) for r in rows if r["stage"] == "decode"]
        self.assertEqual(decode, [("1", "70"), ("3", "70")])

    def test_plot(self):
        """plot_bench.py draws what either form tells, and refuses what is neither."""
        words = ("bench", "-m", MINI, *self.SHORT, "--stages", "prefill,decode")
        files = [self.write("a.csv", self.good(*words, "--csv")), self.write("b.json", self.good(*words, "--json"))]
        draw = [sys.executable, SOURCE / "bench/plot_bench.py", "-o", self.folder / "out.svg"]
        for given in ([files[0]], [files[1]], files):
            done = subprocess.run([*draw, *given], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            drawn = xml.dom.minidom.parse(str(self.folder / "out.svg"))
            self.assertEqual(len(drawn.getElementsByTagName("circle")), 4 * len(given))
        done = subprocess.run([*draw, self.write("c.csv", "a,b\n1,2\n")], capture_output=True, text=True)
        self.assertEqual(done.returncode, 2)
        self.assertIn("c.csv", done.stderr)

    def test_first_token(self):
        """first_token.py times whole runs, and does not time one that failed."""
        words = [sys.executable, SOURCE / "bench/first_token.py", "--repeat", "2", "--program"]
        done = subprocess.run([*words, PROGRAM, MINI], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        first, ended = (float(x) for x in re.findall(r"([\d.]+) ms \(least", done.stdout))
        self.assertTrue(0 < first <= ended, done.stdout)
        done = subprocess.run([*words, PROGRAM, self.write("none.gguf", "no model")], capture_output=True, text=True)
        self.assertEqual(done.returncode, 1)
        self.assertIn("none.gguf", done.stderr)

    def test_stages_are_chosen(self):
        self.assertEqual([r["stage"] for r in self.rows("-m", MINI, "--stages", "decode,vision")],
                         ["vision", "projector", "decode", "decode"])
        self.assertEqual(self.rows("-m", MINI, "--stages", "prefill")[0]["size"], "64")
        self.bad(2, "bench", "--stages", "prefill,vison", contains=["vison", "vision"])

    def test_contexts_rise_and_are_told(self):
        rows = self.rows("-m", MINI, "--stages", "decode", "--context", "200,10,10")
        self.assertEqual([(r["size"], r["context"]) for r in rows],
                         [("1", "10"), ("1", "70"), ("1", "200"), ("3", "200")])

    def test_made_up_weights_in_a_config_s_shapes(self):
        out = json.loads(self.good("bench", "--dummy", MINI / "config.json", *self.SHORT, "--json", "--stages",
                                   "load,prefill"))
        self.assertEqual(out["stages"][0]["stage"], "load")
        self.bad(2, "bench", "--dummy", "huge", contains="huge")

    def test_a_text_half_has_no_pictures_to_measure(self):
        text = self.folder / "text.gguf"
        self.good("quantize", MINI, text, "--half", "text", "--type", "Q8_0", "-q")
        self.assertEqual([r["stage"] for r in self.rows("-m", text)],
                         ["load"] * 4 + ["prefill", "decode", "decode"] + ["memory"] * 2)
        for stage in ("image", "vision"):
            self.bad(2, "bench", "-m", text, "--stages", stage, contains=["no vision half", stage])

    def test_quantized_weights_are_measured_against_products_of_bytes(self):
        for level in ("c", "best"):
            words = ("--cpu", level) if level == "c" else ()
            out = json.loads(self.good("bench", "--dummy", f"{MINI / 'config.json'}:Q8_0", *self.SHORT, *words, "--json",
                                       "--stages", "prefill"))
            self.assertGreater(out["peaks"]["int8_gops"], 0)
            self.assertEqual([row["peak"] for row in out["stages"]], ["int8"])

    def test_wrong_numbers(self):
        for option in ("prompt", "context", "sequences", "views"):
            for text in ("0", "x", "-5", "99999999999", "", "1,", "1,,2", " 3", "1.5", ",".join("1" * 17)):
                self.bad(2, "bench", "-m", MINI, f"--{option}", text, contains=f"--{option} takes")


if __name__ == "__main__":
    unittest.main()
