"""Write a miniature of another family as one checkpoint in that family's original layout.

``python -m emoji_sd.making.export_miniature --work DIR --miniature sd2v --out DIR`` reads ``vae/``, ``text_encoder/``,
``tokenizer/`` and the averaged weights of the U-Net, and writes ``emoji-sd-2v.safetensors`` (fp16), its ``.yaml`` and
the folders of its text encoders. Then it loads the checkpoint with the project's loader and compares the outputs.

Web UIs build an OpenCLIP text encoder from an architecture that the library knows by name (``arch`` in the yaml). Its
sizes are written into the encoder's folder, in the library's format, for ``python -m emoji_sd install``.
"""

from __future__ import annotations

import argparse
import copy
import json
import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from emoji_sd.install import OPEN_CLIP
from emoji_sd.making.distillation import tell
from emoji_sd.making.export import TOKENIZER_FILES, VAE_SIZES, schedule_buffers
from emoji_sd.making.miniature import MINIATURES, Miniature, TextEncoders, read_states
from emoji_sd.making.miniature_text import POOLED
from emoji_sd.making.miniature_unet import HEAD, SIZE_CHANNELS, SIZES, XL_CHANNELS, XL_DEPTHS
from emoji_sd.making.width import SHIPPED, TEXT_STATES
from emoji_sd.original_layout import clip_state, open_clip_state, unet_and_vae
from erasure.families.sd2 import SD2
from erasure.families.sdxl import SDXL
from erasure.model.loading import load_parts
from erasure.model.parts import ModelParts
from erasure.model.text_reader import read_together


def text_folders(miniature: Miniature) -> tuple[str, ...]:
    """Return the names of the folders with each text encoder's configuration and tokenizer."""
    name = f"{miniature.title}-text-encoder"
    return (name, f"{name}-2") if miniature.xl else (name,)


def ldm_config(miniature: Miniature) -> dict[str, Any]:
    """Return the ``.yaml`` that goes beside the checkpoint: the family's own with the miniature's sizes."""
    family = SDXL if miniature.xl else SD2
    document: dict[str, Any] = yaml.safe_load(family.yaml.read_text(encoding="utf-8"))
    parameters = document["model"]["params"]
    # Web UIs hand all of SDXL's params to a class that has no image_size; what is beside them is for us.
    (document["model"] if miniature.xl else parameters)["image_size"] = 16
    parameters["first_stage_config"]["params"]["ddconfig"] = dict(VAE_SIZES)
    folders = text_folders(miniature)
    if miniature.xl:
        parameters["network_config"]["params"].update(
            model_channels=XL_CHANNELS[0],
            channel_mult=[channels // XL_CHANNELS[0] for channels in XL_CHANNELS],
            num_head_channels=HEAD,
            transformer_depth=[max(1, depth) for depth in XL_DEPTHS],
            context_dim=2 * TEXT_STATES,
            adm_in_channels=POOLED + SIZES * SIZE_CHANNELS,
        )
        encoders = parameters["conditioner_config"]["params"]["emb_models"]
        for encoder, folder in zip(encoders, folders, strict=False):
            encoder["params"]["version"] = folder
        encoders[0]["params"]["layer_idx"] = 4
        encoders[1]["params"]["arch"] = miniature.title
        return document
    unet = parameters["unet_config"]["params"]
    base = SHIPPED.channels[0]
    unet.pop("num_head_channels")
    unet.update(image_size=16, model_channels=base, context_dim=SHIPPED.context, num_heads=SHIPPED.heads)
    unet["channel_mult"] = [channels // base for channels in SHIPPED.channels]
    parameters["parameterization"] = "v"
    parameters["cond_stage_config"]["params"].update(version=folders[0], arch=miniature.title)
    return document


def open_clip_architecture(encoder: CLIPTextModelWithProjection) -> dict[str, Any]:
    """Return the sizes of a text encoder as the library ``open_clip`` reads them (``model_configs/NAME.json``).

    It builds an encoder of pictures too, which web UIs drop: that is as small as can be.
    """
    text = encoder.config
    return {
        "embed_dim": text.projection_dim,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 32, "patch_size": 32},
        "text_cfg": {
            "context_length": text.max_position_embeddings,
            "vocab_size": text.vocab_size,
            "width": text.hidden_size,
            "heads": text.num_attention_heads,
            "layers": text.num_hidden_layers,
        },
    }


@torch.no_grad()
def rescaled_vae(vae: AutoencoderKL, scale: float) -> AutoencoderKL:
    """Return a VAE with another scale factor, whose scaled latents and pictures are the same."""
    vae = copy.deepcopy(vae)
    ratio = vae.config["scaling_factor"] / scale
    quant, post = vae.quant_conv, vae.post_quant_conv
    half = len(quant.bias) // 2  # the mean; what follows is the logarithm of the variance
    quant.weight[:half] *= ratio
    quant.bias[:half] *= ratio
    quant.bias[half:] += 2 * torch.tensor(ratio).log()
    post.weight /= ratio
    vae.register_to_config(scaling_factor=scale)
    return vae


def text_state(miniature: Miniature, encoders: TextEncoders) -> dict[str, Tensor]:
    """Return the weights of the text encoders by their original names."""
    if not miniature.xl:
        state = open_clip_state(encoders[0].state_dict())
        return {f"cond_stage_model.model.{key}": value for key, value in state.items()}
    first, second = (encoder.state_dict() for encoder in encoders)
    state = {f"conditioner.embedders.0.transformer.text_model.{k}": v for k, v in clip_state(first).items()}
    return state | {f"conditioner.embedders.1.model.{k}": v for k, v in open_clip_state(second).items()}


def export(miniature: Miniature, work: Path, out: Path) -> Path:
    """Write all files of the miniature; return the checkpoint's path."""
    run = miniature.run_folder(work)
    unet = miniature.empty_unet()
    unet.load_state_dict(torch.load(run / "ema.pt", weights_only=True, map_location="cpu"))
    vae = rescaled_vae(AutoencoderKL.from_pretrained(work / "vae"), miniature.vae_scale)
    encoders = miniature.text_encoders(CLIPTextModel.from_pretrained(work / "text_encoder"))
    for part in (unet, vae, *encoders):
        part.half().float().eval()
    named = {**unet_and_vae(unet, vae), **text_state(miniature, encoders)}
    state = {name: value.half().contiguous() for name, value in named.items()}
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / f"{miniature.title}.safetensors"
    made = (run / "made.json").read_text(encoding="utf-8")
    save_file({**state, **schedule_buffers()}, checkpoint, metadata={"format": "pt", "made": made})
    config = yaml.safe_dump(ldm_config(miniature), sort_keys=False)
    checkpoint.with_suffix(".yaml").write_text(config, encoding="utf-8")
    for encoder, name in zip(encoders, text_folders(miniature), strict=True):
        _write_text_folder(out / name, encoder, work / "tokenizer")
    architecture = json.dumps(open_clip_architecture(encoders[-1]), indent=1)
    (out / text_folders(miniature)[-1] / OPEN_CLIP).write_text(architecture, encoding="utf-8")
    _compare(miniature, load_parts(checkpoint), unet, vae, encoders)
    return checkpoint


def _write_text_folder(folder: Path, encoder: CLIPTextModel, tokenizer: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(encoder.config.to_json_string(), encoding="utf-8")
    for name in TOKENIZER_FILES:
        shutil.copy(tokenizer / name, folder / name)
    padding = encoder.config.pad_token_id
    if padding != encoder.config.eos_token_id:
        token = next(t for t, i in json.loads((folder / "vocab.json").read_text("utf-8")).items() if i == padding)
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            written = json.loads((folder / name).read_text(encoding="utf-8"))
            (folder / name).write_text(json.dumps({**written, "pad_token": token}, indent=1), encoding="utf-8")


@torch.no_grad()
def _compare(
    miniature: Miniature, loaded: ModelParts, unet: UNet2DConditionModel, vae: AutoencoderKL, encoders: TextEncoders
) -> None:
    """Check that the file, loaded like a user's, computes what was trained. Raises: AssertionError if it does not."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 49407, (2, 77), generator=generator)
    ids[:, -9:] = 49407  # the end
    found = read_together(loaded.texts, [ids] * len(loaded.texts))
    states, pooled = read_states(miniature, encoders, ids)
    torch.testing.assert_close(found.states, states)
    if miniature.xl:
        torch.testing.assert_close(found.pooled, pooled)
    arguments = tell(states, pooled if miniature.xl else None)
    z, t = torch.randn((2, 4, 16, 16), generator=generator), torch.tensor([100, 900])
    outputs = [model(z, t, **arguments).sample for model in (unet, loaded.unet)]
    torch.testing.assert_close(outputs[0], outputs[1])
    assert loaded.vae is not None
    assert loaded.vae.config.scaling_factor == miniature.vae_scale
    assert loaded.prediction_type == miniature.prediction
    torch.testing.assert_close(vae.decode(z).sample, loaded.vae.decode(z).sample)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--miniature", choices=MINIATURES, required=True)
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args()
    path = export(MINIATURES[a.miniature], a.work, a.out)
    print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
