"""The tokenizer's form, the optimizer, and packed turns against single conversations."""

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
tokenizers = pytest.importorskip("tokenizers")
from training import optim, preprocess, tokenizer, turns  # noqa: E402
from training.config import Language  # noqa: E402
from training.language import LanguageModel, Layout  # noqa: E402


def test_numbers_and_special_tokens_are_single():
    table = tokenizers.Tokenizer.from_str(json.dumps(tokenizer.build()))
    for n in range(1000):
        assert len(table.encode(str(n), add_special_tokens=False).ids) == 1, n
    for text in tokenizer.ADDED + [tokenizer.BOS, tokenizer.EOS, tokenizer.PAD, " circle", "圆形"]:
        assert len(table.encode(text, add_special_tokens=False).ids) == 1, text


def test_the_tokenizer_is_the_committed_one():
    """The demo checkpoint's weights depend on every id."""
    committed = (Path(__file__).parents[2] / "models/demo/tokenizer.json").read_text()
    assert json.dumps(tokenizer.build(), ensure_ascii=False, indent=1) == committed.rstrip("\n")


def test_packed_turns_equal_single_ones():
    torch.manual_seed(0)
    c = Language(vocab_size=50, hidden_size=32, intermediate_size=32, moe_intermediate_size=16, num_hidden_layers=2,
                 num_attention_heads=4, num_key_value_heads=4, n_routed_experts=4, num_experts_per_tok=2,
                 kv_lora_rank=16, q_lora_rank=None, qk_nope_head_dim=8, qk_rope_head_dim=4, v_head_dim=8,
                 topk_method="noaux_tc", n_group=1, topk_group=1, scoring_func="sigmoid", first_k_dense_replace=1)
    m = LanguageModel(c)
    x = torch.randn(9, 32)                                     # a prefix of 4, turns of 2 and 3
    where = torch.tensor([0, 1, 2, 3, 4, 5, 4, 5, 6])
    packed = Layout(where, torch.tensor([[0, 1, 2, 3, -1]]), torch.tensor([[[4, 5, -1], [6, 7, 8]]]))
    got = m(x, packed)
    alone = m(x[[0, 1, 2, 3, 6, 7, 8]], Layout.single(7, x.device))
    assert torch.allclose(got[6:], alone[4:], atol=1e-5)
    assert torch.allclose(got[:4], alone[:4], atol=1e-5)
    assert torch.allclose(m(x, packed, torch.tensor([5, 8])), got[[5, 8]], atol=1e-5)


def test_orthogonal_levels_singular_values():
    s = torch.linalg.svdvals(optim.orthogonal(torch.randn(24, 60)).float())
    assert s.min() > 0.5 and s.max() < 1.4


def test_resolution_of_a_wide_picture():
    candidates = [[98, 98], [196, 98], [98, 196], [294, 98]]
    assert preprocess.best_resolution((400, 400), candidates) == (98, 98)
    assert preprocess.best_resolution((640, 480), candidates) == (196, 98)
    assert preprocess.best_resolution((900, 300), candidates) == (294, 98)


def test_slots_follow_the_mosaic():
    slots = turns.image_slots(2, 1, 0, False, (-1, -2))
    g = turns.SIDE_ROWS
    assert len(slots) == g * (g + 1) + 1 + g * (2 * g + 1)
    local = slots[g * (g + 1) + 1:]
    assert local[:g] == list(range(g * g, g * g + g)) and local[g:2 * g] == list(range(2 * g * g, 2 * g * g + g))
