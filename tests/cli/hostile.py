"""Broken files made by rule rather than by hand: what the hostile tests feed to the program."""
import copy
import struct

ABSENT = object()
# absent, null, negative, zero, small, odd, huge, fractional, mistyped, empty, nested
VALUES = (ABSENT, None, -1, 0, 1, 3, 1 << 31, 1 << 40, 1 << 70, 1e30, -1e-30, 0.5, "", "seven", "\0", [], [1], {}, {"a": 1},
          True, False)

# Every key that the reference's configuration classes have, in the file and the part where it stands.
CONFIG_KEYS = {
    None: "model_type tile_tag global_view_pos candidate_resolutions architectures torch_dtype transformers_version "
          "vision_config projector_config language_config auto_map",
    "vision_config": "model_name image_size patch_size width layers heads mlp_ratio class_token ignore_head global_pool "
                     "num_classes weight_init deterministic num_recomputing_layers use_checkpoint",
    "projector_config": "projector_type input_dim n_embed depth mlp_ratio downsample_ratio token_pooling model_type",
    "language_config": "vocab_size hidden_size intermediate_size moe_intermediate_size num_hidden_layers "
                       "num_attention_heads num_key_value_heads n_shared_experts n_routed_experts ep_size "
                       "routed_scaling_factor kv_lora_rank q_lora_rank qk_rope_head_dim v_head_dim qk_nope_head_dim "
                       "topk_method n_group topk_group num_experts_per_tok moe_layer_freq first_k_dense_replace "
                       "norm_topk_prob scoring_func aux_loss_alpha seq_aux hidden_act max_position_embeddings "
                       "initializer_range rms_norm_eps use_cache pad_token_id bos_token_id eos_token_id pretraining_tp "
                       "tie_word_embeddings rope_theta rope_scaling attention_bias attention_dropout use_mla",
}
ROPE_KEYS = "type factor original_max_position_embeddings beta_fast beta_slow mscale mscale_all_dim"
PROCESSOR_KEYS = ("candidate_resolutions patch_size downsample_ratio image_mean image_std normalize image_token pad_token "
                  "sft_format add_special_token mask_prompt ignore_id processor_class")


def changed(document, path, value):
    """A copy of a JSON document in which what stands at `path` is `value`, or is not there."""
    out = copy.deepcopy(document)
    at = out
    for key in path[:-1]:
        at = at[key]
    if value is ABSENT:
        if isinstance(at, list):
            del at[path[-1]]
        else:
            at.pop(path[-1], None)
    else:
        at[path[-1]] = value
    return out


def shown(value):
    return "absent" if value is ABSENT else repr(value)[:40]


def configurations(config):
    """(part, key, value, changed config) for every key and value."""
    for part, keys in CONFIG_KEYS.items():
        for key in keys.split():
            for value in VALUES:
                yield part, key, value, changed(config, (part, key) if part else (key,), value)
    scaling = config["language_config"].get("rope_scaling")
    for key in ROPE_KEYS.split() if isinstance(scaling, dict) else ():
        for value in VALUES:
            yield "rope_scaling", key, value, changed(config, ("language_config", "rope_scaling", key), value)


def processors(config):
    for key in PROCESSOR_KEYS.split():
        for value in VALUES:
            yield key, value, changed(config, (key,), value)
    for value in VALUES:
        for place in range(2):
            yield "candidate_resolutions", value, changed(config, ("candidate_resolutions", 0, place), value)
        for key in ("image_mean", "image_std"):
            yield key, value, changed(config, (key, 1), value)


def tokenizers(whole):
    """(what, tokenizer.json) for everything that can be wrong in one; some of them may be right all the same."""
    paths = [("model",), ("model", "type"), ("model", "vocab"), ("model", "merges"), ("model", "unk_token"),
             ("model", "byte_fallback"), ("model", "dropout"), ("model", "continuing_subword_prefix"), ("added_tokens",),
             ("added_tokens", 0), ("added_tokens", 0, "id"), ("added_tokens", 0, "content"),
             ("added_tokens", 0, "normalized"), ("added_tokens", 0, "special"), ("added_tokens", 0, "lstrip"),
             ("pre_tokenizer",), ("pre_tokenizer", "type"), ("pre_tokenizer", "pretokenizers"),
             ("pre_tokenizer", "pretokenizers", 0), ("pre_tokenizer", "pretokenizers", 0, "type"),
             ("pre_tokenizer", "pretokenizers", 0, "pattern"), ("pre_tokenizer", "pretokenizers", 0, "behavior"),
             ("normalizer",), ("decoder",), ("post_processor",), ("truncation",), ("padding",), ("version",)]
    for path in paths:
        for value in VALUES:
            yield f"{'.'.join(map(str, path))}={shown(value)}", changed(whole, path, value)
    merges, vocab = whole["model"]["merges"], whole["model"]["vocab"]
    pair = merges[0]
    many = dict(vocab)
    many.update({f"x{i}": 600000 + i for i in range(20000)})
    words = list(vocab)
    for what, path, value in (
            ("a merge of what is not there", ("model", "merges"), merges + ["nothing here"]),
            ("a merge without two", ("model", "merges"), merges + ["alone"]),
            ("a merge of three", ("model", "merges"), merges + [["a", "b", "c"]]),
            ("a merge of numbers", ("model", "merges"), merges + [[1, 2]]),
            ("an empty merge", ("model", "merges"), merges + [""]),
            ("a merge twice", ("model", "merges"), merges + [pair]),
            ("merges backwards", ("model", "merges"), merges[::-1]),
            ("many merges", ("model", "merges"), merges * 200),
            ("an id twice", ("model", "vocab"), {**vocab, "twice": vocab[words[0]]}),
            ("an id far off", ("model", "vocab"), {**vocab, "far": 1 << 30}),
            ("an id past all", ("model", "vocab"), {**vocab, "far": 1 << 62}),
            ("an id below zero", ("model", "vocab"), {**vocab, "low": -1}),
            ("an id that is a text", ("model", "vocab"), {**vocab, "text": "5"}),
            ("no bytes", ("model", "vocab"), {k: v for k, v in vocab.items() if len(k) > 1}),
            ("one byte missing", ("model", "vocab"), {k: v for k, v in vocab.items() if k != "e"}),
            ("an empty name", ("model", "vocab"), {**vocab, "": 5000}),
            ("a huge name", ("model", "vocab"), {**vocab, "y" * 100000: 5000}),
            ("many more tokens", ("model", "vocab"), many),
            ("no added tokens", ("added_tokens",), []),
            ("an added token twice", ("added_tokens",), whole["added_tokens"] * 2),
            ("an added id twice", ("added_tokens",), whole["added_tokens"] + [{"id": 0, "content": "new"}]),
            ("an added token that is empty", ("added_tokens",), whole["added_tokens"] + [{"id": 900, "content": ""}]),
            ("an added token of every letter", ("added_tokens",), whole["added_tokens"] + [
                {"id": 1000 + i, "content": chr(97 + i), "special": False, "normalized": False} for i in range(26)]),
            ("an expression that runs away", ("pre_tokenizer",), {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "(a+)+$|(?:x+x+)+y"}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}),
            ("an expression that matches nothing", ("pre_tokenizer",), {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": ""}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}),
            ("an expression that calls itself", ("pre_tokenizer",), {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "(?R)"}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}),
            ("a huge expression", ("pre_tokenizer",), {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "(" * 5000 + "a" + ")" * 5000}, "behavior": "Isolated",
                 "invert": False}, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}),
            ("a wide expression", ("pre_tokenizer",), {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": "((a{1,1000}){1,1000}){1,1000}"}, "behavior": "Isolated",
                 "invert": False}, {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}),
    ):
        yield what, changed(whole, path, value)


def truncations(data, points=24):
    """A file cut off at places spread over it, and closely at both ends."""
    places = {0, 1, 2, 3, 8, 16, 64, len(data) - 1, len(data) - 2, len(data) - 9}
    places |= {len(data) * k // points for k in range(points)}
    return [data[:n] for n in sorted(p for p in places if 0 <= p < len(data))]


def flips(data, count=60, seed=7):
    """A file with some of its bytes changed, another place each time."""
    state = seed
    for _ in range(count):
        out = bytearray(data)
        for _ in range(1 + state % 3):
            state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
            out[(state >> 33) % len(out)] = (state >> 20) & 255
        yield bytes(out)


def bombs():
    """(name, bytes): headers that promise pictures of sizes nobody has."""
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    def png(w, h, depth=8, colour=2, body=b"", interlace=0):
        return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, interlace))
                + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b""))

    for w, h in ((1 << 31, 1), (1 << 31, 1 << 31), (65535, 65535), (0, 5), (30000, 30000), ((1 << 31) - 1, 2)):
        yield f"{w}x{h}.png", png(w, h)
    yield "deflated.png", png(14000, 14000, 8, 0, bytes(14001 * 14000))
    yield "interlaced.png", png(20000, 20000, 8, 6, b"", 1)
    yield "big.gif", b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6) + b"\x2c" + struct.pack(
        "<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x44\x01\x00\x3b"
    yield "frame.gif", b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0x80, 0, 0) + bytes(6) + b"\x2c" + struct.pack(
        "<HHHHB", 60000, 60000, 60000, 60000, 0) + b"\x02\x02\x44\x01\x00\x3b"
    for w, h in ((1 << 31, 1 << 31), (70000, 70000), (-5, -5), (0, 0), ((1 << 31) - 1, 1), (5, -(1 << 31))):
        yield f"{w}x{h}.bmp", b"BM" + struct.pack("<IHHIIiiHHIIiiII", 200, 0, 0, 54, 40, max(min(w, (1 << 31) - 1), -(1 << 31)),
                                                 max(min(h, (1 << 31) - 1), -(1 << 31)), 1, 24, 0, 0, 0, 0, 0, 0) + bytes(99)
    for text in ("P6 99999 99999 255\n", "P6 999999999999999999999 1 255\n", "P5 0 0 255\n", "P6 1 1 0\n", "P6 1 1 99999\n",
                 "P6 -1 5 255\n", "P1 4 4\n", "P7\nWIDTH 4\n", "P6 1 1 255", "P3 2 2 255\n1 2 3 999", "P2 3 3 65536\n"):
        yield f"{text.split()[0]}-{abs(hash(text)) % 1000}.pnm", text.encode() + bytes(3)
    yield "huge.webp", b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xff" * 6
    yield "loop.tif", b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 0) + struct.pack("<I", 8)
    entries = [(256, 4, 1, 1 << 30), (257, 4, 1, 1 << 30), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8),
               (277, 3, 1, 1), (278, 4, 1, 1 << 30), (279, 4, 1, 1 << 30)]
    yield "big.tif", b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(entries)) + b"".join(
        struct.pack("<HHII", *e) for e in entries) + struct.pack("<I", 0)
    yield "long.jpg", (b"\xff\xd8\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0\xff\xc0\x00\x11\x08" + struct.pack(">HH", 65535, 65535)
                       + b"\x03\x01\x22\0\x02\x11\0\x03\x11\0\xff\xda\x00\x0c\x03\x01\0\x02\0\x03\0\0\x3f\0\xff\xd9")
    for name, data in (("empty.png", b""), ("text.png", b"hello there"), ("html.jpg", b"<!doctype html><html>"),
                       ("svg.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>"), ("zero.jpg", bytes(5000)),
                       ("ftyp.heic", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"), ("ftyp.avif", b"\0\0\0\x18ftypavif\0\0\0\0avif"),
                       ("doc.pdf", b"%PDF-1.7\n"), ("icon.ico", b"\0\0\1\0\1\0" + bytes(40))):
        yield name, data
