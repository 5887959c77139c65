"""The model against the recorded goldens, in double, and that a planted error is seen; PyTorch's ids against given ones."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
from training import agree, check_golden, language  # noqa: E402

GOLDEN = Path(__file__).parents[2] / "tests/golden"


@pytest.mark.parametrize("name", ["mini-tiny", "mini-base"])
def test_recorded_stages(name):
    assert 1e-8 < check_golden.check(GOLDEN / name, torch.float64) < check_golden.LIMIT


def test_a_wrong_pairing_of_rope_is_far_over_the_limit(monkeypatch):
    right = language.rotate
    monkeypatch.setattr(language, "rotate", lambda x, table, interleaved: right(x, table, not interleaved))
    assert check_golden.check(GOLDEN / "mini-base", torch.float64) > 100 * check_golden.LIMIT


def test_where_ids_part():
    want = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 2.5], [0.0, 1.0, 2.0]])
    assert agree.parting(want, [1, 0, 2]) is None
    assert agree.parting(want, [1, 2, 0]) == (1, 0.5)
