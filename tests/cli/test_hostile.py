"""Files broken by rule, through the whole program: each runs, or is refused in one line that names the place.

A part of them by default; all with VL2_ALL=1."""
import json
import os
import resource
import struct
import subprocess
import unittest

import hostile
from program import CASES, GOLDEN, MINI, PROGRAM, SOURCE, ProgramTest, environment, vl2

ALL = bool(os.environ.get("VL2_ALL"))
SANITIZED = "asan" in os.environ.get("VL2_BUILD", "")
PICTURES = SOURCE / "tests/unit/pictures"


def some(items, every):
    """All of them, or each `every`th."""
    return (item for k, item in enumerate(items) if ALL or k % every == 0)


class Hostile(ProgramTest):
    def judge(self, what, *words, names=(), **more):
        """Runs (True), or fails in one line with one of `names` in it."""
        done = vl2(*words, **more)
        said = done.stderr.decode(errors="replace")
        if done.returncode == 0:
            return True
        self.assertIn(done.returncode, (1, 2), f"{what}: {said}")
        self.assertEqual((said.count("\n"), done.stdout), (1, b""), f"{what}: {said}")
        self.assertTrue(not names or any(name in said for name in names), f"{what}: {said}")
        return False

    def ask(self, what, model, *words, names=()):
        return self.judge(what, "run", "-q", "-m", model, "--max-tokens", "2", *words, "What?", names=names)


class Configurations(Hostile):
    # a value may contradict another key's, or the tensors that are there
    OTHERS = {"image_size": ("patch_size",), "n_routed_experts": ("num_experts_per_tok", "n_group"), "use_mla": ("kv_lora",),
              "max_position_embeddings": ("--ctx-size",), "width": ("OCR",), "layers": ("vision.",),
              "num_hidden_layers": ("language.",), "n_group": ("topk_group", "num_experts_per_tok")}
    TENSORS = ("language.", "vision.", "projector.", "image_newline", "view_seperator")

    def sweep(self, which, every):
        model = self.copy_of_mini(which, GOLDEN / which)
        path = model / "config.json"
        ran = refused = 0
        for part, key, value, config in some(hostile.configurations(json.loads(path.read_text())), every):
            path.write_text(json.dumps(config))
            names = (key, *self.OTHERS.get(key, ()), *self.TENSORS)
            if self.ask(f"{part}.{key}={hostile.shown(value)}", model, names=names):
                ran += 1
            else:
                refused += 1
        self.assertGreater(min(ran, refused), 2)

    def test_every_key_mha(self):
        self.sweep("mini-tiny", 61)

    def test_every_key_mla_and_yarn(self):
        self.sweep("mini-yarn", 67)

    def test_every_key_of_the_processor(self):
        model = self.copy_of_mini()
        path = model / "processor_config.json"
        for key, value, config in some(hostile.processors(json.loads(path.read_text())), 23):
            path.write_text(json.dumps(config))
            self.ask(f"{key}={hostile.shown(value)}", model, "-i", CASES / "img0.png", names=(key,))

    def test_every_key_of_a_tower_in_bytes(self):
        model = self.copy_of_mini("small", GOLDEN / "mini-small")
        path = model / "config.json"
        for part, key, value, config in some(hostile.configurations(json.loads(path.read_text())), 3):
            if part == "vision_config":
                path.write_text(json.dumps(config))
                self.ask(f"{key}={hostile.shown(value)}", model, "--vision", "int8", "-i", CASES / "img0.png",
                         names=(key, *self.OTHERS.get(key, ()), *self.TENSORS))

    def test_unused_keys_change_nothing(self):
        """What the reference does not use for computing, whatever it holds, is no reason to refuse."""
        model = self.copy_of_mini()
        path = model / "config.json"
        config = json.loads(path.read_text())
        for part, keys in ((None, "torch_dtype transformers_version auto_map"),
                           ("language_config", "aux_loss_alpha seq_aux initializer_range use_cache pad_token_id bos_token_id "
                            "eos_token_id pretraining_tp attention_dropout"),
                           ("vision_config", "weight_init deterministic num_recomputing_layers use_checkpoint num_classes")):
            for key in keys.split():
                for value in some((None, -5, "x", [], True), 2):
                    path.write_text(json.dumps(hostile.changed(config, (part, key) if part else (key,), value)))
                    self.assertTrue(self.judge(f"{key}={value}", "inspect", model), f"{key}={value}")


class Tokenizers(Hostile):
    def test_everything_that_can_be_wrong_in_one(self):
        model = self.copy_of_mini()
        path = model / "tokenizer.json"
        text = "What? <|ref|>x<|/ref|> " + "a" * 40
        for what, tokenizer in some(hostile.tokenizers(json.loads(path.read_text())), 25):
            path.write_text(json.dumps(tokenizer))
            self.judge(what, "run", "-q", "-m", model, "--max-tokens", "2", text, names=("tokenizer",))

    def test_the_files_beside_it(self):
        model = self.copy_of_mini()
        for name, keys in (("tokenizer_config.json", ("bos_token", "eos_token", "pad_token", "added_tokens_decoder",
                                                      "add_bos_token", "tokenizer_class", "model_max_length")),
                           ("special_tokens_map.json", ("bos_token", "eos_token", "pad_token"))):
            path = model / name
            whole = json.loads(path.read_text()) if path.exists() else {}
            kept = path.read_text() if path.exists() else None
            for key in keys:
                for value in some((*hostile.VALUES, "no such token", {"content": 5}, {"content": "no such"}), 5):
                    if value != 1 << 70:
                        path.write_text(json.dumps(hostile.changed(whole, (key,), value)))
                        self.ask(f"{name} {key}={hostile.shown(value)}", model, names=(name, "tokenizer"))
            path.write_text(kept) if kept else path.unlink()

    def test_cut_off(self):
        model = self.copy_of_mini()
        path = model / "tokenizer.json"
        for data in some(hostile.truncations(path.read_bytes()), 6):
            path.write_bytes(data)
            self.assertFalse(self.ask(len(data), model, names=("tokenizer.json",)))


class Files(Hostile):
    def test_index(self):
        model = self.copy_of_mini()
        path = model / "model.safetensors.index.json"
        whole = json.loads(path.read_text())
        first = next(iter(whole["weight_map"]))
        for value in some(hostile.VALUES, 5):
            for keys in (("weight_map",), ("metadata",), ("weight_map", first)):
                path.write_text(json.dumps(hostile.changed(whole, keys, value)))
                self.ask(f"{keys}={hostile.shown(value)}", model, names=("index.json", first, "model-"))
        for name in ("/etc/passwd", "..", ".", "a/b", "", "x" * 300, "con\nfig", "config.json", "model.safetensors.index.json"):
            path.write_text(json.dumps(hostile.changed(whole, ("weight_map", first), name)))
            self.assertFalse(self.ask(name, model, names=("index.json", first, name)), name)

    def test_weights_cut_off_and_overgrown(self):
        model = self.copy_of_mini("small", GOLDEN / "mini-small")
        path = model / "model.safetensors"
        data = path.read_bytes()
        for cut in some(hostile.truncations(data), 4):
            path.write_bytes(cut)
            self.assertFalse(self.ask(len(cut), model, names=("model.safetensors",)))
        path.write_bytes(data + bytes(1000))
        self.assertFalse(self.ask("1000 bytes more", model, names=("model.safetensors",)))

    def test_headers_of_weights(self):
        model = self.copy_of_mini("small", GOLDEN / "mini-small")
        path = model / "model.safetensors"
        data = path.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
        name = "language.model.norm.weight"
        places = [(name,), (name, "dtype"), (name, "shape"), (name, "data_offsets"), (name, "shape", 0),
                  (name, "data_offsets", 0), (name, "data_offsets", 1), ("__metadata__",)]
        for place in places:
            for value in some(hostile.VALUES, 5):
                text = json.dumps(hostile.changed(header, place, value)).encode()
                path.write_bytes(struct.pack("<Q", len(text)) + text + body)
                ran = self.ask(f"{place}={hostile.shown(value)}", model, names=("safetensors",))
                self.assertTrue(not ran or place == ("__metadata__",) or header[name]["shape"] == value, (place, value))

    def test_a_tower_in_bytes_of_numbers_that_are_none(self):
        """NaN, infinity, the greatest number and zeros throughout one tensor of each kind in a block of the tower."""
        model = self.copy_of_mini("small", GOLDEN / "mini-small")
        path = model / "model.safetensors"
        data = path.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])
        kinds = [name for name in header if name.startswith("vision.blocks.0.")]
        self.assertGreater(len(kinds), 8)
        for name in kinds:
            self.assertEqual(header[name]["dtype"], "F32")
            first, end = (8 + size + at for at in header[name]["data_offsets"])
            for number in some((b"\xff\xff\xff\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", b"\0\0\0\0"), 2):
                path.write_bytes(data[:first] + number * ((end - first) // 4) + data[end:])
                self.ask(f"{name}: {number}", model, "--vision", "int8", "-i", CASES / "img0.png")

    def test_broken_bytes_of_a_header_never_crash(self):
        model = self.copy_of_mini("small", GOLDEN / "mini-small")
        path = model / "model.safetensors"
        data = path.read_bytes()
        (size,) = struct.unpack("<Q", data[:8])
        for head in some(hostile.flips(data[: 8 + size]), 4):
            path.write_bytes(head + data[8 + size :])
            self.ask("flipped", model)


class Pictures(Hostile):
    def see(self, name, data):
        path = self.folder / name
        path.write_bytes(data)
        return self.judge(f"{name}, {len(data)} bytes", "run", "-q", "-m", MINI, "--max-tokens", "1", "-i", path, "What?",
                          names=(name,))

    def test_bombs_and_lies(self):
        for name, data in hostile.bombs():
            if name == "deflated.png" and (SANITIZED or not ALL):
                continue # 196 million real pixels: slow, and right
            self.see(name, data)

    def test_other_formats_are_refused_by_name(self):
        for name, data in hostile.bombs():
            kind = {"ftyp.heic": "HEIC", "ftyp.avif": "AVIF", "doc.pdf": "PDF", "icon.ico": "ICO", "svg.svg": "SVG"}.get(name)
            if kind:
                path = self.write(name, data)
                self.bad(1, "run", "-q", "-m", MINI, "-i", path, "What?", contains=[name, kind])

    def test_cut_off_and_flipped(self):
        files = sorted(p for p in PICTURES.iterdir() if p.suffix not in (".txt", ".md"))
        self.assertGreater(len(files), 50)
        for path in some(files, 19):
            data = path.read_bytes()
            for broken in (*hostile.truncations(data, 24 if ALL else 3), *hostile.flips(data, 60 if ALL else 3)):
                self.see(path.name, broken)

    def test_from_stdin(self):
        for data in (b"", b"x", (CASES / "img0.png").read_bytes()[:100]):
            self.bad(1, "run", "-q", "-m", MINI, "-i", "-", "What?", stdin=data, contains="standard input")


class Scarcity(Hostile):
    def test_a_context_of_one_token(self):
        for size in ("1", "2", "13"):
            for words in (("What?",), ("-i", CASES / "img0.png", "What?")):
                self.judge(size, "run", "-q", "-m", MINI, "--ctx-size", size, "--max-tokens", "3", *words,
                           names=("--ctx-size",))
        self.good("bench", "-m", MINI, "--stages", "prefill", "--prompt", "1", "--repeat", "1", "--ctx-size", "1")
        self.bad(1, "bench", "-m", MINI, "--stages", "prefill", "--prompt", "9", "--repeat", "1", "--ctx-size", "1",
                 contains="--ctx-size")

    @unittest.skipIf(SANITIZED, "a sanitizer's shadow does not fit a small address space")
    def test_a_small_address_space(self):
        """Whatever is allowed, the program answers, or says in a line that there is no memory."""
        words = [PROGRAM, "run", "-q", "-m", str(MINI), "--max-tokens", "2", "-t", "1", "-i", str(CASES / "img0.png"), "What?"]
        seen = set()
        for megabytes in (*range(16, 64, 16 if not ALL else 1), *range(64, 420, 60 if not ALL else 4)):
            limit = megabytes << 20
            done = subprocess.run(words, capture_output=True, timeout=120, stdin=subprocess.DEVNULL, env=environment(),
                                  preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)))
            said = done.stderr.decode(errors="replace")
            if done.returncode == 127 or b"error while loading shared libraries" in done.stderr:
                continue # the system's loader, before the program began
            self.assertIn(done.returncode, (0, 1), f"{megabytes} MB: {said}")
            if done.returncode:
                self.assertEqual(said.count("\n"), 1, said)
                self.assertIn("memory", said, f"{megabytes} MB")
            seen.add(done.returncode)
        self.assertEqual(seen, {0, 1})

    def test_a_file_that_may_not_grow(self):
        """As on a full disk: the answer is an error, and no half file is left."""
        limit = lambda: (__import__("signal").signal(25, __import__("signal").SIG_IGN), # SIGXFSZ
                         resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
        for words, output in ((("trace", "-m", MINI, "--conversation", CASES / "text.json", "-o"), "t.safetensors"),
                              (("run", "-q", "-m", MINI, "-i", CASES / "img4.png", "--max-tokens", "2", "What?", "--draw"),
                               "d.png")):
            to = self.folder / output
            done = subprocess.run([PROGRAM, *map(str, words), str(to)], capture_output=True, timeout=120,
                                  stdin=subprocess.DEVNULL, env=environment(), preexec_fn=limit)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn(output.encode(), done.stderr)
            self.assertEqual(list(self.folder.iterdir()), [])

    @unittest.skipUnless(os.path.exists("/dev/full"), "there is no /dev/full here")
    def test_a_full_disk_behind_every_command(self):
        for words in (("tokenize", "-m", MINI, "a b c"), ("detokenize", "-m", MINI, "5"), ("inspect", MINI),
                      ("inspect", MINI, "--json"), ("version",), ("run", "--help"), ("--help",), ("help", "run"),
                      ("bench", "-m", MINI, "--stages", "prefill", "--prompt", "4", "--repeat", "1")):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([PROGRAM, *map(str, words)], stdout=full, stderr=subprocess.PIPE, env=environment(),
                                      stdin=subprocess.DEVNULL, timeout=60)
            self.assertEqual((done.returncode, done.stderr.count(b"\n")), (1, 1), f"{words}: {done.stderr}")

    def test_a_closed_pipe_ends_every_command_silently(self):
        for words in (("tokenize", "-m", MINI, "a " * 40000), ("inspect", MINI, "--tensors"), ("run", "--help"),
                      ("run", "-q", "-m", MINI, "Hello")):
            reader, writer = os.pipe()
            os.close(reader)
            done = subprocess.run([PROGRAM, *map(str, words)], stdout=writer, stderr=subprocess.PIPE, env=environment(),
                                  stdin=subprocess.DEVNULL, timeout=60)
            os.close(writer)
            self.assertEqual((done.returncode, done.stderr), (-13, b""), words) # SIGPIPE

    def test_closed_standard_streams(self):
        for closed in (0, 1, 2):
            done = subprocess.run([PROGRAM, "run", "-q", "-m", str(MINI), "--max-tokens", "2", "Hello"], timeout=60,
                                  env=environment(), preexec_fn=lambda: os.close(closed), capture_output=True)
            self.assertIn(done.returncode, (0, 1), closed)

    def test_nothing_at_all(self):
        empty = self.folder / "empty"
        empty.mkdir()
        self.bad(1, "run", "-m", empty, "x", contains="config.json")
        self.bad(2, "run", "-m", "", "x", contains="model")
        self.bad(2, "run", "-m", MINI, "-i", "", "x", contains="picture")
        self.assertEqual(self.good("tokenize", "-m", MINI, "").strip(), "")
        self.good("run", "-q", "-m", MINI, "--max-tokens", "1", "")
        jsonl = self.write("in.jsonl", "")
        self.good("batch", "-q", "-m", MINI, jsonl, "-o", self.folder / "out.jsonl")


if __name__ == "__main__":
    unittest.main()
