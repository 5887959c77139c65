"""What a run needs to go on after a stop: written whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn


def save_state(path: Path, model: nn.Module, optim: Any, **extra: Any) -> None:
    part = path.with_suffix(".part")
    torch.save({"model": model.state_dict(), "optim": optim.state_dict(), "extra": extra}, part)
    os.replace(part, path)


def load_state(path: Path, model: nn.Module, optim: Any) -> dict[str, Any]:
    """Fills model and optimizer from the file where there is one; returns what was kept beside them."""
    if not path.exists():
        return {}
    state = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(state["model"])
    if "optim" in state:
        optim.load_state_dict(state["optim"])
    return state["extra"]
