"""The wide world: pages, pairs, looks, the other renderer. Pixels are measured where an answer rests on them."""

import numpy as np
import pytest

pytest.importorskip("PIL")
from training import shards  # noqa: E402
from training.scenes import kinds, pages, pairs, questions, render, wide, words, world  # noqa: E402

SEEDS = range(10)


def clean(scene: world.Scene) -> world.Scene:
    """The same scene on plain paper, losslessly."""
    scene.noise, scene.jpeg, scene.texture, scene.back = 0.0, None, "", scene.back[:1]
    return scene


def pixels(scene: world.Scene) -> np.ndarray:
    """[h,w,3]; the seed is one whose picture gets no grain on top."""
    seed = next(s for s in range(99) if np.random.default_rng([2, s]).random() > 0.12)
    return np.asarray(render.draw(clean(scene), seed), int)


@pytest.mark.parametrize("kind", ["wide", *kinds.PAGES])
def test_a_seed_gives_one_picture_in_any_order(kind):
    first = [np.asarray(render.draw(kinds.scene(s, "train", kind), s)) for s in (3, 4)]
    again = [np.asarray(render.draw(kinds.scene(s, "train", kind), s)) for s in (4, 3)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(first, again)) and first[0].shape != first[1].shape


def names_on(says: dict) -> list[str]:
    """The words of a page that were drawn by lot; single letters and TOTAL are no words."""
    chart, table, receipt = (says.get(k) or {} for k in ("chart", "table", "receipt"))
    cells = [c for row in table.get("cells", []) for c in row]
    out = [*chart.get("names", []), chart.get("title", ""), *table.get("rows", []), *table.get("columns", []), *cells,
           *receipt.get("names", []), receipt.get("shop", ""), *says.get("sign", "").split()]
    return [w for w in out if len(w) > 1 and w.isalpha()]


def test_splits_share_no_page_and_no_word():
    seen = 0
    for kind in kinds.PAGES:
        for seed in SEEDS:
            for split in ("train", "held-out"):
                says = kinds.scene(seed, split, kind).says
                assert pages.belongs(says, split)
                seen += len(said := names_on(says))
                assert all(words.held_out(w) == (split != "train") for w in said), said
    assert seen > 120


def test_splits_share_no_pair():
    for seed in SEEDS:
        for split in ("train", "held-out"):
            assert all(world.layout_held_out(s) == (split != "train") for s in pairs.sample(seed, split)[:2])


def test_labels_lie_inside_the_page_apart_and_large_enough():
    for kind in kinds.PAGES:
        for seed in SEEDS:
            scene = kinds.scene(seed, "held-out", kind)
            boxes = []
            for label in (m for m in scene.marks if isinstance(m, pages.Label)):
                x0, y0, x1, y1 = np.array(label.box()) + [*label.at, *label.at]
                assert -1 <= x0 and -1 <= y0 and x1 <= scene.width + 1 and y1 <= scene.height + 1, (kind, seed, label)
                assert label.size >= max(9, min(scene.width, scene.height) // 12)
                assert not any(x0 < b[2] - 2 and b[0] < x1 - 2 and y0 < b[3] - 2 and b[1] < y1 - 2 for b in boxes), (kind, seed, label)
                boxes.append((x0, y0, x1, y1))


def test_every_label_is_drawn():
    """Without one label, the picture differs exactly where that label is."""
    for kind in kinds.PAGES:
        scene = kinds.scene(1, "train", kind)
        whole = pixels(scene)
        for label in [m for m in scene.marks if isinstance(m, pages.Label)]:
            scene.marks.remove(label)
            y, x = np.nonzero((pixels(scene) != whole).any(-1))
            x0, y0, x1, y1 = np.array(label.box()) + [*label.at, *label.at]
            assert len(x) > 5 and x0 - 2 <= x.min() and x.max() <= x1 + 2 and y0 - 2 <= y.min() and y.max() <= y1 + 2
            scene.marks.append(label)


def test_bars_are_as_high_as_their_values():
    """Measured in the picture: the run of the bar's colour in its middle column."""
    checked = 0
    for seed in range(24):
        scene = kinds.scene(seed, "train", "chart")
        chart, bars = scene.says["chart"], [m for m in scene.marks if isinstance(m, pages.Bar)]
        if chart["kind"] != "bar":
            continue
        scene.marks = bars
        seen = pixels(scene)
        heights = []
        for bar in bars:
            column = seen[:, round((bar.box[0] + bar.box[2]) / 2)]
            heights.append((np.abs(column - np.array(scene.back[0])).sum(-1) > 60).sum())
        order = np.argsort(chart["values"])
        assert (np.diff(np.array(heights)[order]) >= 0).all()
        unit = max(heights) / max(chart["values"])
        assert all(abs(h - v * unit) < 2.5 + unit / 50 for h, v in zip(heights, chart["values"]))
        checked += 1
    assert checked > 8


def test_totals_are_sums():
    for seed in SEEDS:
        receipt = kinds.scene(seed, "train", "receipt").says["receipt"]
        cents = [int(p.replace(".", "")) for p in receipt["prices"]]
        assert int(receipt["total"].replace(".", "")) == sum(cents) and receipt["total"][-3] == "."


def test_hollow_things_fill_their_boxes_and_no_more():
    """Each thing drawn alone: its pixels' bounds are its box, and the middle of a hollow one is background."""
    hollow = 0
    for seed in range(16):
        scene = kinds.scene(seed, "train", "wide")
        scene.supersample = 1
        for item in scene.items:
            scene.items = [item]
            differs = np.abs(pixels(scene) - np.array(scene.back[0])).sum(-1) > 30
            y, x = np.nonzero(differs)
            edge = 1.5 if item.hollow or not item.outline else item.line + 2
            assert np.abs(np.array([x.min(), y.min(), x.max(), y.max()]) - item.box).max() <= edge, (seed, item.shape)
            if item.hollow:
                hollow += 1
                cx, cy = ((item.box[i] + item.box[i + 2]) / 2 for i in (0, 1))
                assert not differs[round(cy), round(cx)]
    assert hollow > 5


def test_no_change_is_much_rarer_than_another():
    seen = [pairs.sample(s, "held-out")[2][0] for s in range(48)]
    assert all(2 <= seen.count(how) <= 20 for how in pairs.CHANGES), seen


@pytest.mark.parametrize("how", pairs.CHANGES)
def test_pairs_differ_as_they_say(how):
    """Items told apart by kind and place, and pixels: no change, no difference."""
    seed = next(s for s in range(300) if pairs.sample(s, "train")[2][0] == how)
    a, b, (_, color, shape, now_color, now_shape) = pairs.sample(seed, "train")
    was, now = ([(i.color, i.shape, *(round(v) for v in i.box)) for i in s.items] for s in (a, b))
    lost, got = [i[:2] for i in was if i not in now], [i[:2] for i in now if i not in was]
    old, new = [(color, shape)], [(now_color, now_shape)]
    assert (lost, got) == {"none": ([], []), "gone": (old, []), "new": ([], new)}.get(how, (old, new))
    assert (old == new) == (how in ("gone", "new", "moved", "none"))
    assert np.array_equal(pixels(a), pixels(b)) == (how == "none")


FACTS = {"size": [1000, 500], "items": [["red", "circle", [0, 0, 100, 200]], ["blue", "star", [500, 100, 990, 990]]],
         "chart": {"kind": "bar", "names": ["Sun", "Cat"], "values": [3, 12], "title": ""},
         "table": {"rows": ["Tea", "Milk"], "columns": ["Cup"], "cells": [["7"], ["Blue"]]},
         "receipt": {"names": ["Tea"], "prices": ["1.50"], "total": "1.50", "shop": ""}, "sign": "OPEN DOOR"}


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_answers(lang):
    asker = wide.WideAsker(FACTS, np.random.default_rng(0))
    red, blue = {"en": ("red circle", "blue star"), "zh": ("红色圆形", "蓝色星形")}[lang]
    said = {task: {tuple(asker.ask(task, lang)[2:]) for _ in range(60)} for task in
            [*wide.ITEMS, *wide.CHART, *wide.TABLE, *wide.RECEIPT, "sign"]}

    def answers(task: str) -> set[str]:
        return {a for _, a in said[task]}

    none, small = questions.NONE[lang], wide.SIZES[lang]
    assert all(a == small[red not in q] for q, a in said["size"]) and answers("size") == set(small)
    assert answers("larger") == {blue} == answers("largest") and answers("smallest") == {red}
    assert answers("highest") == {"Cat"} and answers("lowest") == {"Sun"} and answers("bars") == {"2"}
    assert all(a == ("3" if "Sun" in q else "12") for q, a in said["value"])
    assert all((a == questions.YES[lang][0]) == (q.index("Cat") < q.index("Sun")) for q, a in said["higher"])
    assert all(a == ("7" if "Tea" in q else "Blue" if "Milk" in q else none) for q, a in said["cell"])
    assert answers("receipt_total") == {"1.50"} and answers("price") <= {"1.50", none} and answers("sign") == {"OPEN DOOR"}
    for task in ("color_or_none", "ground_or_none", "all_or_none"):
        assert none in answers(task) and len(answers(task)) > 1, task


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_which_of_three(lang):
    facts = [{"items": [["red", s, [0, 0, 1, 1]]]} for s in ("star", "heart", "cross")]
    rng, seen = np.random.default_rng(0), set()
    for _ in range(60):
        question, answer = wide.which_of(rng, facts, lang)
        at = [k for k, f in enumerate(facts) if questions.thing(lang, *f["items"][0][:2]) in question]
        assert answer == (wide.IMAGES[lang][at[0]] if at else questions.NONE[lang])
        seen.add(answer)
    assert len(seen) == 4


def test_differences_are_told():
    change = ["color", "red", "star", "blue", "star"]
    rng = np.random.default_rng(0)
    assert wide.differ(rng, change, "en")[1] == "The red star is now blue."
    assert wide.differ(rng, change, "zh")[1] == "红色星形变成了蓝色。"
    assert {wide.differ(rng, ["none", *[""] * 4], lang)[1] for lang in ("en", "zh")} == {"They are the same.", "没有不同。"}


def test_letters_of_a_page_are_labels_of_patches():
    p = shards.picture(2, "train", "sign", biggest=98)
    text = kinds.scene(2, "train", "sign", biggest=98).says["sign"].lower().replace(" ", "")
    seen = {shards.LETTERS[v - 1] for v in p["labels"][..., 2].ravel() if v}
    assert seen and seen <= set(text) and len(seen) >= len(set(text)) / 3
    assert not p["labels"][..., :2].any()


def test_pairs_stay_together_in_shards_and_batches(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from training import data, packed
    monkeypatch.setattr(shards, "PER_SHARD", 16)
    for kind in ("pair", "chart", "items"):
        shards.write_shard(tmp_path / f"train-{kind}-00000.npz", 0, "train", kind, square=1.0, biggest=98)
    stream = data.pictures(tmp_path, 0, {"pair": 0.5, "chart": 0.3, "items": 0.2}, 1)
    packer = packed.Packer(stream, 0)
    for _ in range(6):
        shown = packer.pictures("spot", 4)
        assert all(a["facts"]["change"] == b["facts"]["change"] for a, b in zip(shown[::2], shown[1::2]))
    batches = [packer.page(4), packer.spot(4), packer.three(6), packer.page(4, 6, "square")]
    assert [{t.task for t in b.turns} <= set(tasks) for b, tasks in zip(batches, (wide.CHART, ["differ"], ["which_of"], wide.ITEMS))] == [True] * 4
    assert all(packed.TOKENS.decode([v for v in t.target if v >= 0]) == t.answer for b in batches for t in b.turns)


def test_the_other_renderers_boxes_are_where_the_pixels_are():
    pytest.importorskip("matplotlib")
    from training.scenes import other
    for seed in range(10):
        facts, image, _ = other.sample(seed)
        again = other.sample(seed)
        assert facts == again[0] and np.array_equal(image, again[1]) and list(image.size) == facts["size"]
        alone = np.asarray(image, int)
        empty = np.asarray(other.sample(seed, things=False)[1], int)
        differs = np.abs(alone - empty).sum(-1) > 90
        inside = np.zeros_like(differs)
        w, h = image.size
        for _, _, box in facts["items"]:
            x0, y0, x1, y1 = (v * s / 999 for v, s in zip(box, (w, h, w, h)))
            part = (slice(max(0, int(y0 - 0.006 * h - 2)), int(y1 + 0.006 * h + 3)), slice(max(0, int(x0 - 0.006 * w - 2)), int(x1 + 0.006 * w + 3)))
            y, x = np.nonzero(differs[part])
            low = np.array([x.min() + part[1].start, y.min() + part[0].start]), np.array([x.max() + part[1].start, y.max() + part[0].start])
            assert np.abs(low[0] - [x0, y0]).max() < 0.011 * max(w, h) + 3 and np.abs(low[1] - [x1, y1]).max() < 0.011 * max(w, h) + 3
            inside[part] = True
        assert not (differs & ~inside).any()
