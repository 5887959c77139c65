"""Batches that processes draw for a trainer: every kind is made, and arrives as it was sent."""

import mmap

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from training import feed, timed  # noqa: E402
from training.packed import Packed, Packer  # noqa: E402
from training.turns import TOKENS  # noqa: E402


@pytest.fixture(scope="module")
def maker() -> feed.Maker:
    return feed.Maker(7, 3)


@pytest.mark.parametrize("kind", feed.MENU)
def test_a_batch_comes_out_of_a_block_as_it_went_in(maker, kind):
    b = maker.make(kind, 12)
    arrays, about = feed.parts(b)
    where, used = feed.write(block := mmap.mmap(-1, feed.BLOCK), arrays)
    got = feed.restore(kind, feed.read(torch.frombuffer(block, dtype=torch.uint8, count=used), where), about)
    views = b if isinstance(b, dict) else b.views
    assert set(got.views) == set(views) and all(torch.equal(got.views[k], v) and got.views[k].dtype == v.dtype for k, v in views.items())
    assert (got.packed is None) == (kind == "letters")
    if not isinstance(b, Packed):
        return
    assert all(torch.equal(getattr(got.packed, k), getattr(b, k)) for k in ("source", "target", "weight", "told", "boxes", "asked", "words"))
    assert torch.equal(got.packed.plan.position, b.plan.position) and got.packed.plan.prefix == b.plan.prefix
    assert all((g.n, g.length, g.answers) == (h.n, h.length, h.answers) and torch.equal(g.first, h.first)
               for g, h in zip(got.packed.plan.groups, b.plan.groups, strict=True))
    asked = [b.turns[n].task for n in b.owner if n >= 0]
    assert [feed.TASKS[n] for n in got.task.tolist() if n >= 0] == asked and len(asked) > 12


def test_few_pictures_may_have_no_question_of_a_group(maker, monkeypatch):
    monkeypatch.setattr(maker.packer, "_one", lambda asker, task: None if task == "relation" else Packer._one(maker.packer, asker, task))
    assert len(maker.make("square", 6).plan.groups) == 2


def test_what_does_not_fit_a_block_is_refused():
    a = {"a": np.arange(10, dtype=np.float32), "b": np.ones((3, 5), bool)}
    where, used = feed.write(block := bytearray(80), a)
    back = feed.read(torch.frombuffer(block, dtype=torch.uint8), where)
    assert used == 64 and torch.equal(back["a"], torch.arange(10.0)) and back["b"].shape == (3, 5) and back["b"].all()
    assert feed.write(bytearray(62), a) is None and feed.write(bytearray(63), a)


def test_each_drawn_picture_is_used_several_times_and_pairs_stay_together():
    stream = feed.drawn("square", 5, 4)
    seen = [next(stream)["tiles"].tobytes() for _ in range(400)]
    assert 100 < len(set(seen)) < 220                      # 60 to begin with, then one in four
    pairs = feed.drawn("pair", 5, 4)
    for _ in range(20):
        one, two = next(pairs), next(pairs)
        assert (change := one["facts"]["change"]) == two["facts"]["change"]
        assert change[0] == "none" or not np.array_equal(one["tiles"], two["tiles"])


def test_pictures_of_a_set_have_their_own_tilings(maker):
    lengths = {maker.make("which", 8).plan.prefix for _ in range(8)}
    assert len(lengths) > 1
    b = maker.make("three", 12)
    ends = [i for i, t in enumerate(b.source[: b.plan.prefix].tolist()) if t == len(b.views["tiles"]) * 16 + 1]
    assert len(ends) == 3                                  # one separator of views each
    assert all("image" in t.answer or "第" in t.answer or t.answer in ("There is none.", "没有") for t in b.turns)


def test_processes_feed_a_trainer_and_end_with_it():
    f = feed.Feed(1, 3, 3, {k: float(k in ("text", "letters")) for k in feed.MENU}, size=0.02)
    f.load("cpu")
    kinds = {f.take().kind for _ in range(12)}
    assert kinds == {"text", "letters"}
    held = f.exam("cpu")
    assert [b.kind for b in held] == [feed.HELD_OUT[0]] and all(t.ids[-1] != TOKENS.eos for t in held[0].packed.turns)
    f.stop()
    f.workers[0].join(10)
    assert not f.workers[0].is_alive()


def test_a_process_that_ends_is_told(monkeypatch):
    monkeypatch.setattr(feed.Maker, "make", lambda *_: 1 / 0)
    f = feed.Feed(1, 3, 3, {})
    f.load("cpu")
    f.workers[0].join(20)
    for take in (f.take, lambda: f.exam("cpu")):
        with pytest.raises(RuntimeError, match="has ended"):
            take()


def test_a_copy_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(feed, "restore", lambda *_: 1 / 0)
    f = feed.Feed(1, 3, 3, {k: float(k == "letters") for k in feed.MENU}, size=0.02)
    f.load("cpu")
    with pytest.raises(RuntimeError, match="cannot be copied"):
        while True:
            f.take()
    f.stop()


def test_weights_are_written_in_parts_and_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(timed, "PART", 6 << 20)
    torch.manual_seed(3)
    one, two = timed.Learner(), timed.Learner()
    for p in one.parameters():
        torch.nn.init.normal_(p)
    timed.save(one, tmp_path, 5)
    assert len(list(tmp_path.glob("learner-*.pt"))) > 5 and all(f.stat().st_size < (7 << 20) for f in tmp_path.glob("learner-*.pt"))
    timed.read_weights(two, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    kept = torch.load(tmp_path / "learner-1.pt", weights_only=True)
    torch.save({**kept, "step": 4}, tmp_path / "learner-1.pt")
    with pytest.raises(ValueError, match=r"steps \[5, 4, 5"):
        timed.read_weights(two, tmp_path)
