"""The generator: same seed same picture, splits apart, answers that follow from the scene."""

import numpy as np
import pytest

pytest.importorskip("PIL")
from training.grade import mean_iou, right  # noqa: E402
from training.scenes import questions, render, words, world  # noqa: E402


def test_a_seed_gives_one_picture():
    for kind in ("items", "text"):
        a, b = (np.asarray(render.draw(world.sample(7, "train", kind), 7)) for _ in range(2))
        assert np.array_equal(a, b)


def test_splits_share_no_layout_and_no_word():
    for seed in range(40):
        assert not world.layout_held_out(world.sample(seed, "train"))
        assert world.layout_held_out(world.sample(seed, "held-out"))
        assert not words.held_out(world.sample(seed, "train", "text").text.text)
        assert words.held_out(world.sample(seed, "held-out", "text").text.text)


def test_items_lie_inside_their_picture():
    for seed in range(60):
        scene = world.sample(seed)
        for item in scene.items:
            x0, y0, x1, y1 = item.box
            assert 0 <= x0 < x1 <= scene.width and 0 <= y0 < y1 <= scene.height


FACTS = {"size": [100, 100], "items": [["red", "circle", [100, 100, 300, 300]], ["blue", "star", [500, 100, 700, 300]],
                                       ["blue", "star", [500, 500, 700, 800]]]}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_answers(lang):
    asker = questions.Asker(FACTS, np.random.default_rng(0))
    assert asker.ask("color", lang)[3] == {"en": "red", "zh": "红色"}[lang]
    assert asker.ask("shape", lang)[3] == {"en": "circle", "zh": "圆形"}[lang]
    assert asker.ask("total", lang)[3] == "3"
    assert asker.ask("ground_all", lang)[3].count("[") in (2, 3)
    said = {asker.ask("presence", lang)[3] for _ in range(30)}
    assert said == set(questions.THERE[lang])


def test_grades():
    box = "<|ref|>a<|/ref|><|det|>[[0, 0, 100, 100]]<|/det|>"
    near = box.replace("100]", "140]")
    assert right("ground", near, box) == 1 and mean_iou(near, box) == pytest.approx(1 / 1.4)
    assert right("ground", "There is none.", box) == 0
    assert right("color", " red ", "red") == 1 and right("color", "reddish", "red") == 0


def test_every_task_but_captions_is_asked_in_chinese():
    rng = np.random.default_rng(2)
    things = questions.Asker({"items": [["red", "star", [0, 0, 100, 100]], ["blue", "heart", [500, 500, 700, 700]], ["blue", "heart", [500, 0, 700, 200]]]}, rng)
    text = questions.Asker({"text": "cat", "number": False}, rng)
    for task in [n[1:] for n in dir(questions.Asker) if n[1:] in (*questions.EN, "relation", "read")]:
        if got := (text if task == "read" else things).ask(task, "zh"):
            assert (got[1] == "zh") == (task != "caption") == any("\u4e00" <= c <= "\u9fff" for c in got[2]), got
