"""Compares the model with recorded goldens: every stage's largest difference over the rms of what was recorded.

    python -m training.check_golden FOLDER... [--f64]
A FOLDER is a checkpoint with golden/CASE.safetensors in it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from . import model
from .language import Layout

LIMIT = 2e-5        # the recordings are float32: one of 32 lies 1.2e-5 from the same computed in double


def stages(m: model.Model, want: dict[str, Tensor]) -> dict[str, Tensor]:
    """What `vl2 trace` records, from recorded ids and tiles."""
    dtype, ids = m.image_newline.dtype, want["input_ids"].long()
    out: dict[str, Tensor] = {}
    x = m.language.model.embed_tokens(ids)
    if "vision" in want:
        out["vision"] = m.vision(m.normalize(want["tiles"]))
        out["projector"] = m.projector(out["vision"])
        rows, at = [], 0
        for across, down in want["spatial_crop"].tolist():
            n = 1 + across * down
            rows.append(m.image_rows(out["projector"][at:at + n], across, down))
            at += n
        x = x.masked_scatter(want["images_seq_mask"].bool()[:, None], torch.cat(rows).to(dtype))
    out["inputs_embeds"] = x
    hidden = m.language.hidden_states(x, Layout.single(len(ids), x.device))
    for i, h in enumerate(hidden):
        out[f"hidden.{i}"] = h[-len(want["logits"]):]
    out["logits"] = m.language.lm_head(hidden[-1][-len(want["logits"]):])
    return out


@torch.no_grad()
def check(folder: Path, dtype: torch.dtype) -> float:
    m = model.load(folder, dtype)
    worst = 0.0
    for path in sorted((folder / "golden").glob("*.safetensors")):
        want = load_file(path)
        got = stages(m, want)
        error = {k: float((v - want[k].to(dtype)).abs().max() / want[k].to(dtype).pow(2).mean().sqrt())
                 for k, v in got.items()}
        name = max(error, key=error.__getitem__)
        right = "" if error[name] <= LIMIT else "   <-- over the limit"
        print(f"{folder.name:16} {path.stem:24} worst {error[name]:.1e} at {name}{right}")
        worst = max(worst, error[name])
    return worst


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folders", nargs="+", type=Path)
    p.add_argument("--f64", action="store_true", help="compute in double: what is left is the recording's own noise")
    a = p.parse_args()
    worst = max(check(f, torch.float64 if a.f64 else torch.float32) for f in a.folders)
    print(f"worst of all {worst:.1e}, limit {LIMIT:.0e}")
    raise SystemExit(worst > LIMIT)


if __name__ == "__main__":
    main()
