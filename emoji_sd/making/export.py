"""Write the trained parts as one SD 1.x checkpoint in the original layout, and the files that belong to it.

``python -m emoji_sd.making.export --work DIR --out DIR`` reads ``vae/``, ``text_encoder/``, ``tokenizer/`` and
``run/ema.pt``, and writes ``emoji-sd.safetensors`` (fp16), ``emoji-sd.yaml``, ``text_encoder/`` and, if it was trained,
``classifier.safetensors``. Then it loads the checkpoint with the project's loader and compares the outputs. With
``--channels`` it does so for the U-Net of another width; the checkpoint is then named after it, say ``emoji-sd-128``.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel

from emoji_sd.making.batches import alphas_cumprod
from emoji_sd.making.widen_text import widened_text_encoder
from emoji_sd.making.width import SHIPPED, WIDTHS, Width
from emoji_sd.original_layout import original_state_dict
from erasure.model.loading import load_parts

NAME = "emoji-sd"
VAE_SIZES = {
    "double_z": True, "z_channels": 4, "resolution": 128, "in_channels": 3, "out_ch": 3, "ch": 64,
    "ch_mult": [1, 1, 1, 2], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0,
}  # fmt: skip
TOKENIZER_FILES = ("vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


def schedule_buffers() -> dict[str, Tensor]:
    """Return the noise schedule's buffers as the original layout stores them, all (1000,) fp32."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square()
    kept = alphas_cumprod().double()
    before = torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    buffers = {
        "betas": betas,
        "alphas_cumprod": kept,
        "alphas_cumprod_prev": before,
        "sqrt_alphas_cumprod": kept.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - kept).sqrt(),
    }
    return {name: value.float() for name, value in buffers.items()}


def ldm_config(text_folder: str, width: Width = SHIPPED) -> dict[str, Any]:
    """Return the ``.yaml`` that goes beside the checkpoint; ``text_folder`` holds text configuration and tokenizer."""
    base = width.channels[0]
    unet = {
        "target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
        "params": {
            "image_size": 16, "in_channels": 4, "out_channels": 4, "model_channels": base,
            "attention_resolutions": [4, 2, 1], "num_res_blocks": 2,
            "channel_mult": [channels // base for channels in width.channels], "num_heads": width.heads,
            "use_spatial_transformer": True, "transformer_depth": 1, "context_dim": width.context,
            "use_checkpoint": False, "legacy": False,
        },
    }  # fmt: skip
    vae = {
        "target": "ldm.models.autoencoder.AutoencoderKL",
        "params": {
            "embed_dim": 4,
            "monitor": "val/rec_loss",
            "ddconfig": VAE_SIZES,
            "lossconfig": {"target": "torch.nn.Identity"},
        },
    }
    text = {"target": "ldm.modules.encoders.modules.FrozenCLIPEmbedder", "params": {"version": text_folder}}
    params = {
        "linear_start": 0.00085, "linear_end": 0.0120, "num_timesteps_cond": 1, "log_every_t": 200,
        "timesteps": 1000, "first_stage_key": "jpg", "cond_stage_key": "txt", "image_size": 16, "channels": 4,
        "cond_stage_trainable": False, "conditioning_key": "crossattn", "scale_factor": 0.18215, "use_ema": False,
        "unet_config": unet, "first_stage_config": vae, "cond_stage_config": text,
    }  # fmt: skip
    return {"model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": params}}


def export(work: Path, out: Path, width: Width = SHIPPED) -> Path:
    """Write all files that ship with the model; return the checkpoint's path."""
    run = width.run_folder(work)
    unet = UNet2DConditionModel(**width.unet_config())
    unet.load_state_dict(torch.load(run / "ema.pt", weights_only=True, map_location="cpu"))
    vae = AutoencoderKL.from_pretrained(work / "vae")
    text = widened_text_encoder(CLIPTextModel.from_pretrained(work / "text_encoder"), width)
    state = {name: value.half() for name, value in original_state_dict(unet, vae, text).items()}
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / f"{NAME if width == SHIPPED else f'{NAME}-{width.channels[0]}'}.safetensors"
    made = {"made": (run / "made.json").read_text(encoding="utf-8")} if (run / "made.json").exists() else {}
    save_file({**state, **schedule_buffers()}, checkpoint, metadata={"format": "pt", **made})
    config = yaml.safe_dump(ldm_config("text_encoder", width), sort_keys=False)
    checkpoint.with_suffix(".yaml").write_text(config, encoding="utf-8")
    (out / "text_encoder").mkdir(exist_ok=True)
    (out / "text_encoder" / "config.json").write_text(text.config.to_json_string(), encoding="utf-8")
    for name in TOKENIZER_FILES:
        shutil.copy(work / "tokenizer" / name, out / "text_encoder" / name)
    if (work / "classifier.safetensors").exists():
        shutil.copy(work / "classifier.safetensors", out / "classifier.safetensors")
    _compare(checkpoint, unet.half().float(), vae.half().float(), text.half().float())
    return checkpoint


@torch.no_grad()
def _compare(checkpoint: Path, unet: UNet2DConditionModel, vae: AutoencoderKL, text: CLIPTextModel) -> None:
    """Check that the file, loaded like a user's, computes what was trained. Raises: AssertionError if it does not."""
    loaded = load_parts(checkpoint)
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 4, 16, 16), (2, 77, unet.config["cross_attention_dim"]))
    z, context = (torch.randn(shape, generator=generator) for shape in shapes)
    t = torch.tensor([100, 900])
    eps = [model(z, t, encoder_hidden_states=context).sample for model in (unet.eval(), loaded.unet)]
    torch.testing.assert_close(eps[0], eps[1])
    assert loaded.vae is not None
    torch.testing.assert_close(vae.eval().decode(z).sample, loaded.vae.decode(z).sample)
    ids = torch.randint(0, 49407, (2, 77), generator=generator)
    states = [model(ids).last_hidden_state for model in (text.eval(), loaded.text_encoder)]
    torch.testing.assert_close(states[0], states[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--channels", type=int, choices=WIDTHS, default=SHIPPED.channels[0], help="of the finest level")
    a = parser.parse_args()
    path = export(a.work, a.out, WIDTHS[a.channels])
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
