"""Broken checkpoints and conversations: one clear line that names the place, status 1 or 2, no crash."""
import json
import struct
import unittest

from program import CASES, GOLDEN, MINI, ProgramTest, vl2

SMALL = GOLDEN / "mini-small" # one file of weights
WEIGHTS = "model.safetensors"


def split(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def join(path, header, body):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


class BadInput(ProgramTest):
    def refused(self, model, *contains, words=("What?",)):
        done = vl2("run", "-q", "-m", model, "--max-tokens", "2", *words)
        said = done.stderr.decode(errors="replace")
        self.assertIn(done.returncode, (1, 2), f"{contains}: {said or done.stdout}")
        self.assertEqual((said.count("\n"), done.stdout), (1, b""), said)
        for text in contains:
            self.assertIn(text, said)


class Weights(BadInput):
    def setUp(self):
        super().setUp()
        self.model = self.copy_of_mini(which=SMALL)
        self.path = self.model / WEIGHTS
        self.header, self.body = split(self.path)
        self.name = "language.model.norm.weight"

    def with_header(self, change, *contains):
        header = json.loads(json.dumps(self.header))
        change(header)
        join(self.path, header, self.body)
        self.refused(self.model, *contains)

    def test_cut_off(self):
        data = self.path.read_bytes()
        for n in (0, 4, 8, 100, len(data) // 2, len(data) - 1):
            self.path.write_bytes(data[:n])
            self.refused(self.model, WEIGHTS)

    def test_header_lengths_that_lie(self):
        data = self.path.read_bytes()
        for size in (0, 1, len(data), len(data) - 7, 1 << 40, (1 << 63) - 1, (1 << 64) - 1):
            self.path.write_bytes(struct.pack("<Q", size) + data[8:])
            self.refused(self.model, WEIGHTS)

    def test_headers_that_are_no_headers(self):
        for text in (b"", b"[]", b"{", b"5", b'{"a": 5}', b"\xff\xfe", b'{"a": {"dtype": "F32"}}', b"{" * 5000):
            self.path.write_bytes(struct.pack("<Q", len(text)) + text + self.body)
            self.refused(self.model, WEIGHTS)

    def test_offsets_that_lie(self):
        last = max(t["data_offsets"][1] for n, t in self.header.items() if n != "__metadata__")
        for offsets in ([0, last + 1], [last, last + 256], [-4, 252], [256, 0], [0, 1 << 62], [0.0, 256], ["0", "256"],
                        [0], None):
            self.with_header(lambda h, o=offsets: h[self.name].update(data_offsets=o), WEIGHTS, self.name)

    def test_overlapping_tensors(self):
        names = sorted(n for n in self.header if n.endswith("norm.weight") and n != "__metadata__")
        same = [n for n in names if self.header[n]["shape"] == self.header[self.name]["shape"] and n != self.name]
        self.with_header(lambda h: h[self.name].update(data_offsets=h[same[0]]["data_offsets"]), WEIGHTS)

    def test_shapes_and_types_that_lie(self):
        for shape in ([1 << 62, 4], [-1], ["64"], [64.5], [1] * 40, 64, None, [0]):
            self.with_header(lambda h, s=shape: h[self.name].update(shape=s), self.name)
        for kind in ("F8", "float32", 5, None):
            self.with_header(lambda h, k=kind: h[self.name].update(dtype=k), self.name)

    def test_missing_and_misshapen_tensors_are_named(self):
        self.with_header(lambda h: h.update({"other": h.pop(self.name)}), self.name)
        name = "language.lm_head.weight"
        self.with_header(lambda h: h[name].update(shape=h[name]["shape"][::-1]), name, "expected")

    def test_tensors_that_nothing_uses_are_no_error(self):
        end = len(self.body)
        self.header["unused.weight"] = {"dtype": "F32", "shape": [2], "data_offsets": [end, end + 8]}
        join(self.path, self.header, self.body + bytes(8))
        self.good("run", "-q", "-m", self.model, "--max-tokens", "2", "What?")

    def test_weights_that_are_not_numbers(self):
        start, end = self.header[self.name]["data_offsets"]
        two = self.header[self.name]["dtype"] != "F32"
        nan = (b"\xc0\x7f" * 2 if two else b"\0\0\xc0\x7f") * ((end - start) // 4)
        join(self.path, self.header, self.body[:start] + nan + self.body[end:])
        self.refused(self.model, self.name, "NaN")

    def test_shards(self):
        tiny = self.copy_of_mini("tiny")
        index = tiny / "model.safetensors.index.json"
        whole = index.read_text()
        shards = sorted(tiny.glob("model-*.safetensors"))
        kept = shards[1].read_bytes()
        shards[1].unlink()
        self.refused(tiny, shards[1].name)
        shards[1].write_bytes(kept)
        for text in ("{}", '{"weight_map": []}', '{"weight_map": {"a": 5}}', '{"weight_map": {"a": "../../etc/passwd"}}',
                     "", "[", '{"weight_map": {"a": "no.safetensors"}}'):
            index.write_text(text)
            self.refused(tiny)
        index.write_text(whole)
        self.good("run", "-q", "-m", tiny, "--max-tokens", "2", "What?")


class Configurations(BadInput):
    FIELDS = {
        "vision_config": ("width", "layers", "heads", "patch_size", "image_size", "mlp_ratio"),
        "projector_config": ("projector_type", "depth", "downsample_ratio", "n_embed", "input_dim"),
        "language_config": ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                            "moe_intermediate_size", "num_experts_per_tok", "n_routed_experts", "intermediate_size",
                            "max_position_embeddings", "rms_norm_eps", "rope_theta", "topk_method"),
    }

    def change(self, part, key, value):
        config = json.loads((self.model / "config.json").read_text())
        config[part][key] = value
        return config

    def test_values_out_of_all_reason(self):
        self.model = self.copy_of_mini()
        path = self.model / "config.json"
        whole = path.read_text()
        for part, keys in self.FIELDS.items():
            for key in keys:
                for value in (-1, 0, 1 << 40, "seven", [], 1e30, {"a": 1}, True):
                    path.write_text(whole)
                    path.write_text(json.dumps(self.change(part, key, value)))
                    done = vl2("run", "-q", "-m", self.model, "--max-tokens", "1", "What?", timeout=60)
                    said = done.stderr.decode(errors="replace")
                    # what the reference can run may run; the rest is refused in one line
                    self.assertIn(done.returncode, (0, 1, 2), f"{key}={value}: {said}")
                    if done.returncode:
                        self.assertEqual(said.count("\n"), 1, f"{key}={value}: {said}")

    def test_absent_files_and_parts(self):
        for name in ("config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json"):
            model = self.copy_of_mini(name + ".without")
            (model / name).unlink()
            self.refused(model, name)
            for text in ("", "{", "[]", "null", '{"a": 1, "a": 2}', "{}" * 2, "\0", "[" * 100000):
                (model / name).write_text(text)
                self.refused(model)

    def test_models_of_another_kind(self):
        model = self.copy_of_mini()
        config = json.loads((model / "config.json").read_text())
        for key, value in (("tile_tag", "1D"), ("tile_tag", None), ("candidate_resolutions", [[70, 71]]),
                           ("candidate_resolutions", []), ("model_type", "llama")):
            (model / "config.json").write_text(json.dumps({**config, key: value}))
            done = vl2("run", "-q", "-m", model, "--max-tokens", "1", "What?")
            self.assertIn(done.returncode, (0, 1) if key in ("candidate_resolutions", "model_type") else (1,))

    def test_tokenizers(self):
        model = self.copy_of_mini()
        path = model / "tokenizer.json"
        whole = json.loads(path.read_text())
        for change in (lambda t: t["model"].pop("merges"), lambda t: t["model"].update(merges=["no such pair", 5]),
                       lambda t: t["model"].update(type="Unigram"), lambda t: t["model"].update(vocab={}),
                       lambda t: t["model"]["vocab"].update(x=-5), lambda t: t["model"]["vocab"].update(x=1 << 40),
                       lambda t: t.update(pre_tokenizer={"type": "Sequence", "pretokenizers": [
                           {"type": "Split", "pattern": {"Regex": "(unclosed"}, "behavior": "Isolated", "invert": False}]}),
                       lambda t: t.update(added_tokens=[{"id": 1 << 31, "content": "x"}]),
                       lambda t: t.update(normalizer={"type": "NFKC"})):
            broken = json.loads(json.dumps(whole))
            change(broken)
            path.write_text(json.dumps(broken))
            self.refused(model, "tokenizer.json")


class Conversations(BadInput):
    def refused_talk(self, talk, *contains):
        path = self.write("talk.json", talk)
        done = vl2("run", "-q", "-m", MINI, "--max-tokens", "2", "--conversation", path)
        said = done.stderr.decode(errors="replace")
        self.assertIn(done.returncode, (1, 2), f"{talk}: {said or done.stdout}")
        self.assertEqual((said.count("\n"), done.stdout), (1, b""), said)
        for text in contains:
            self.assertIn(text, said)

    def test_what_is_no_conversation(self):
        for text in ("", "{}", "[]", "5", "null", "{broken", '["text"]', '[{"role": "user"}]', '[{"content": "x"}]',
                     '[{"role": 5, "content": "x"}]', '[{"role": "user", "content": "x", "images": "a.png"}]',
                     '[{"role": "user", "content": "x", "images": [5]}]', '[{"role": "user", "content": null}]'):
            self.refused_talk(text, "talk.json")

    def test_roles_and_tags(self):
        picture = str(CASES / "img0.png")
        ask = {"role": "user", "content": "What?"}
        self.refused_talk([{"role": "nurse", "content": "x"}], "nurse")
        self.refused_talk([ask, {"role": "system", "content": "late"}], "system")
        self.refused_talk([{"role": "user", "content": "<image>"}], "<image>")
        self.refused_talk([{"role": "user", "content": "no tag", "images": [picture]}], "<image>")
        self.refused_talk([{"role": "user", "content": "<image><image>", "images": [picture]}], "<image>")
        self.refused_talk([ask, {"role": "assistant", "content": "<image>"}], "<image>")
        self.refused_talk([{"role": "user", "content": "<image>", "images": ["none.png"]}], "none.png")
        self.refused_talk([{"role": "user", "content": "x", "imagse": []}], 'did you mean "images"')

    def test_control_characters_do_not_reach_the_terminal(self):
        done = vl2("run", "-q", "-m", MINI, "-i", "a\x1b[31m\nb.png", "What?")
        self.assertEqual((done.returncode, done.stderr.count(b"\n"), done.stderr.count(b"\x1b")), (1, 1, 0))

    def test_empty_and_odd_texts_are_fine(self):
        for content in ("", " ", "\n\n", "<|User|>", "\u3000", "a" * 3000):
            path = self.write("talk.json", [{"role": "user", "content": content}])
            self.good("run", "-q", "-m", MINI, "--max-tokens", "1", "--conversation", path)
        self.good("run", "-q", "-m", MINI, "--max-tokens", "1", stdin="")
        self.bad(2, "run", "-q", "-m", MINI, stdin=b"\xff\xfe", contains="UTF-8")


if __name__ == "__main__":
    unittest.main()
