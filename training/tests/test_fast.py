"""The fast layout and its kernels against the model as published; merging of processes; losses of fixed shape."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from training import kernels  # noqa: E402
from training.config import Language  # noqa: E402
from training.fast import FastLanguage, Group, Plan  # noqa: E402
from training.language import LanguageModel, Layout  # noqa: E402
from training.merge import Common, read_common  # noqa: E402

SMALL = Language(vocab_size=64, hidden_size=32, intermediate_size=48, moe_intermediate_size=32, num_hidden_layers=3,
                 num_attention_heads=2, num_key_value_heads=2, n_shared_experts=1, n_routed_experts=4,
                 num_experts_per_tok=2, kv_lora_rank=32, q_lora_rank=None, qk_nope_head_dim=32, qk_rope_head_dim=16,
                 v_head_dim=32, topk_method="noaux_tc", n_group=1, topk_group=1, scoring_func="sigmoid",
                 norm_topk_prob=True, first_k_dense_replace=1)
PREFIX, TURNS = 5, [[4, 3], [2, 4]]                        # two pictures with two turns each, and their lengths


def _models() -> tuple[LanguageModel, FastLanguage]:
    torch.manual_seed(1)
    its = LanguageModel(SMALL)
    for name, p in its.named_parameters():
        torch.nn.init.uniform_(p, 0.5, 1.5) if "norm" in name else torch.nn.init.normal_(p, 0, p.shape[-1] ** -0.5)
    mine = FastLanguage(SMALL)
    mine.from_model(its)
    return its, mine


def _plan() -> Plan:
    """Turns are filled to 4 from the left; the last two tokens of each predict."""
    first = torch.tensor([[4 - n for n in row] for row in TURNS], dtype=torch.int32)
    where = [*range(PREFIX)] * 2
    for row in TURNS:
        for n in row:
            where += [0] * (4 - n) + list(range(PREFIX, PREFIX + n))
    return Plan(2, PREFIX, torch.tensor(where), [Group(2, 4, 2, first)])


def test_packed_turns_equal_single_conversations():
    its, mine = _models()
    x = torch.randn(2 * PREFIX + 16, 32)
    got = mine(x, _plan()).view(2, 2, 2, -1)
    for i, row in enumerate(TURNS):
        for j, n in enumerate(row):
            at = 2 * PREFIX + (2 * i + j) * 4
            alone = torch.cat([x[i * PREFIX:(i + 1) * PREFIX], x[at + 4 - n:at + 4]])
            want = its(alone, Layout.single(len(alone), x.device))[-2:]
            assert torch.allclose(got[i, j], want, atol=1e-5)


def test_weights_go_there_and_back():
    its, mine = _models()
    other = LanguageModel(SMALL)
    mine.to_model(other)
    for (name, a), b in zip(its.state_dict().items(), other.state_dict().values()):
        assert torch.equal(a, b), name


@pytest.mark.skipif(not kernels.there(), reason="this CPU has neither AVX2 nor bfloat16 instructions")
def test_kernels_have_the_plain_gradients(monkeypatch):
    _, mine = _models()
    x, give = torch.randn(2 * PREFIX + 16, 32), torch.randn(8, 64)

    def grads(dtype: torch.dtype, fused: bool) -> dict[str, torch.Tensor]:
        mine.zero_grad()
        with monkeypatch.context() as m:
            if not fused:
                m.setattr(kernels, "there", lambda: False)
            out = mine(x.to(dtype), _plan())
            (out.float() * give).sum().backward()
        return {"out": out.float(), **{n: p.grad.clone() for n, p in mine.named_parameters() if p.grad is not None}}

    want, plain, got = grads(torch.float32, False), grads(kernels.DTYPE, False), grads(kernels.DTYPE, True)
    most = 0.02 if kernels.DTYPE == torch.bfloat16 else 1e-4
    for name, w in want.items():
        far = (got[name] - w).norm() / w.norm()
        assert far < most or far < 1.5 * (plain[name] - w).norm() / w.norm(), (name, far)


@pytest.mark.skipif(not kernels.there(), reason="this CPU has neither AVX2 nor bfloat16 instructions")
def test_look_up_sums_repeated_rows_in_float32():
    table = torch.randn(6, 32, requires_grad=True)
    source = torch.tensor([1, 1, 4] + [2] * 1000)
    kernels.LookUp.apply(table, source).backward(torch.full((1003, 32), 0.25, dtype=kernels.DTYPE))
    assert torch.equal(table.grad[:, 0], torch.tensor([0.0, 0.5, 250.0, 0.0, 0.25, 0.0]))


def test_two_processes_meet_in_the_middle(tmp_path):
    a, b = torch.zeros(3), torch.zeros(3)
    one, two = Common(tmp_path / "w", [a], 0, seconds=1e9), Common(tmp_path / "w", [b], 1, seconds=1e9)
    one.step(), two.step()
    a += 1.0
    one.merge()                                            # alone so far: its whole step counts
    assert torch.allclose(a, torch.ones(3))
    b += 3.0
    two.merge()                                            # half of all steps are its own
    assert torch.allclose(b, torch.full((3,), 2.5), atol=0.05)
    one.merge()
    assert torch.equal(a, b) and one.steps == 2
    c = torch.zeros(3)
    read_common(tmp_path / "w", [c])
    assert torch.equal(c, a)
    assert np.isclose(one.share() + two.share(), 1)


def test_a_box_is_told_between_its_name_and_its_numbers():
    from training.packed import box_places, turn_of
    from training.turns import TOKENS
    box = "<|det|>[[100, 200, 300, 440]]<|/det|>"
    turn = turn_of("ground", "en", "Locate <|ref|>the star<|/ref|> here.", f"<|ref|>the star<|/ref|>{box}")
    places = box_places(turn)
    said = [TOKENS.decode([turn.ids[i]]) for i, _ in places]
    assert said[0] == "<|/ref|>" and said[-3:] == ["<|/ref|>", "<|det|>", "[["] and not any(s.isdigit() for s in said)
    assert all(b == [10, 20, 30, 44] for _, b in places)
    two = turn_of("caption", "en", "Describe.", f"A <|ref|>star<|/ref|>{box} and a <|ref|>heart<|/ref|>{box.replace('100', '10')}.")
    assert [b[0] for _, b in box_places(two)] == [10] * 3 + [1] * 3
    assert box_places(turn_of("ground", "en", "<|ref|>the star<|/ref|>", "There is none.")) == []
    many = turn_of("ground_all", "en", "<|ref|>all stars<|/ref|>", f"<|ref|>all stars<|/ref|>{box.replace(']]', '], [0, 0, 10, 10]]')}")
    assert [(TOKENS.decode([many.ids[i]]), b) for i, b in box_places(many)][-4:] == [(s, [0, 0, 1, 1]) for s in ("440", "],", " ", "[")]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_thing_is_told_where_a_question_names_it(lang):
    from training.packed import named_places, turn_of
    from training.scenes import questions
    from training.turns import TOKENS
    items = [["red", "star", [0, 10, 20, 30]], ["blue", "heart", [500, 510, 520, 530]], ["green", "heart", [1, 2, 3, 4]]]
    question = questions.word(np.random.default_rng(1), "left", lang, "blue", "heart", ("red", "star"))
    ids, places = turn_of("relation", lang, question, "Yes").ids, named_places(question, lang, items)
    names = {"en": (" star", " heart"), "zh": ("星形", "心形")}[lang]
    assert [(TOKENS.decode([ids[i]]), b) for i, b in places[::2]] == [(names[0], [0, 1, 2, 3]), (names[1], [50, 51, 52, 53])]
    assert [i for i, _ in places[1::2]] == [i + 1 for i, _ in places[::2]]


def test_an_answer_of_one_word_is_told_at_the_end_of_its_question():
    from training.packed import turn_of, word_places
    from training.turns import TOKENS
    turn = turn_of("count", "en", "How many stars are there?", "3")
    assert [(TOKENS.decode([turn.ids[i]]), TOKENS.decode([w])) for i, w in word_places(turn)] == [("?\n\n", "3"), ("<|Assistant|>", "3"), (":", "3")]
    spelt = turn_of("read", "en", "Read the text.", "abc")
    assert [TOKENS.decode([w]) for _, w in word_places(spelt)][:3] == ["a", "b", "c"] and spelt.ids[word_places(spelt)[1][0]] == word_places(spelt)[0][1]
