"""Writes a model as a published checkpoint has it: config, processor, tokenizer, weights in bfloat16.

    python -m training.export STATE FOLDER              STATE: of training/train.py, which may be running, or of training/timed.py
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from . import tokenizer
from .model import Model
from .settings import CANDIDATES, LANGUAGE, MEAN, PATCH, PROJECTOR, VISION


def write_config(folder: Path, vocab: int) -> None:
    language = {**LANGUAGE, "vocab_size": vocab, "bos_token_id": 0, "eos_token_id": 1, "model_type": "deepseek_v2",
                "architectures": ["DeepseekV2ForCausalLM"], "torch_dtype": "bfloat16"}
    main = {"model_type": "deepseek_vl_v2", "architectures": ["DeepseekVLV2ForCausalLM"], "vl2_demo": True,
            "tile_tag": "2D",
            "global_view_pos": "head", "candidate_resolutions": CANDIDATES,
            "vision_config": {"model_type": "vision", "model_name": "siglip_so400m_patch14_384", **VISION},
            "projector_config": {"model_type": "mlp_projector", **PROJECTOR},
            "language_config": language, "torch_dtype": "bfloat16"}
    processor = {"candidate_resolutions": CANDIDATES, "patch_size": PATCH,
                 "downsample_ratio": PROJECTOR["downsample_ratio"], "image_mean": MEAN, "image_std": MEAN,
                 "normalize": True, "image_token": "<image>", "pad_token": tokenizer.PAD, "add_special_token": False,
                 "sft_format": "deepseek", "mask_prompt": False, "ignore_id": -100,
                 "processor_class": "DeepseekVLV2Processor"}
    files = {"config.json": main, "processor_config.json": processor, "tokenizer.json": tokenizer.build(),
             "tokenizer_config.json": tokenizer.TOKENIZER_CONFIG}
    for name, data in files.items():
        (folder / name).write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n")


def export(model: Model, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, model.config.language.vocab_size)
    weights = {k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in model.state_dict().items()}
    part = folder / "model.part"
    save_file(weights, part, metadata={"format": "pt"})
    part.chmod(0o644)
    os.replace(part, folder / "model.safetensors")


def _read_merged(learner: torch.nn.Module, state: Path) -> None:
    """The common weights of training/train.py's processes; the routers' biases are no trained weights: not merged."""
    from .merge import read_common
    read_common(state / "train.common", [p for _, p in learner.named_parameters()])
    if (own := state / "train-0.pt").exists():
        kept = torch.load(own, map_location="cpu", weights_only=True)["model"]
        for i, layer in enumerate(learner.language.layers):
            if layer.moe:
                layer.bias.copy_(kept[f"language.layers.{i}.bias"])


def main() -> None:
    from .timed import read_weights
    from .train import Learner
    learner, state = Learner(), Path(sys.argv[1])
    (read_weights if list(state.glob("learner-*.pt")) else _read_merged)(learner, state)
    export(learner.whole(), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
