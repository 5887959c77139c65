"""Held-out questions: the same twice, every fourth Chinese, scored as they should be."""

import json

import pytest

pytest.importorskip("PIL")
from training import evaluate, heldout  # noqa: E402


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("world,tasks", [("narrow", ["color", "ground"]), ("wide", ["size", "value", "differ"]), ("other", ["total"])])
def test_questions_and_scores(tmp_path, world, tasks):
    if world == "other":
        pytest.importorskip("matplotlib")
    a, b = tmp_path / "a", tmp_path / "b"
    for folder in (a, b):
        evaluate.make(folder, world, tasks, 4)
    assert all((a / f.name).read_bytes() == f.read_bytes() for f in b.iterdir())
    known = lines(a / "expected.jsonl")
    assert sorted((e["task"], e["lang"]) for e in known) == sorted((t, lang) for t in tasks for lang in ("en", "en", "en", "zh"))
    for question in lines(a / "questions.jsonl"):
        message = question["messages"][0]
        assert message["content"].count("<image>") == len(message["images"]) == (2 if question["id"].startswith("differ") else 1)
        assert all((a / name).exists() for name in message["images"])
    for said, share in (("{answer}", 1.0), ("nonsense", 0.0)):
        (a / "answers.jsonl").write_text("".join(json.dumps({"id": e["id"], "text": said.format(**e)}) + "\n" for e in known))
        assert {t: row["right"] for t, row in evaluate.score(a).items()} == dict.fromkeys(tasks, share)


def test_a_fixed_answer_is_scored_by_language(tmp_path):
    known = [{"id": str(i), "task": "total", "lang": "zh" if i > 3 else "en", "answer": a} for i, a in enumerate("1122345")]
    (tmp_path / "expected.jsonl").write_text("".join(json.dumps(e) + "\n" for e in known))
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps({"id": e["id"], "text": "2"}) + "\n" for e in known))
    row = evaluate.score(tmp_path)["total"]
    assert row == {"questions": 7, "right": round(2 / 7, 4), "en": 0.5, "zh": 0.0, "fixed": round(3 / 7, 4)}


def test_answers_that_differ_are_counted(tmp_path, capsys):
    for name, said in (("answers", "abc"), ("other", "abx")):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in enumerate(said)))
    evaluate.same(tmp_path, [tmp_path / "other.jsonl"])
    assert "1 of 3 differ 2" in capsys.readouterr().out


def test_worlds_share_no_seed():
    starts = sorted(heldout.FIRST_SEED.values())
    assert all(b - a >= 5_000_000 for a, b in zip(starts, starts[1:]))
