"""Base checkpoints that are known by their hash: what the Hugging Face Hub and Civitai call them. Needs no torch.

The hashes are those that the Hub lists for the files in the repositories (CompVis' also in
``CompVis/stable-diffusion-v-1-4-original``).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class KnownBase:
    """A published model. ``hub``: its id on the Hub; ``version``: as Civitai names it; ``sha256``: of its files."""

    hub: str
    version: str
    sha256: tuple[str, ...]


KNOWN = (
    KnownBase(
        "CompVis/stable-diffusion-v1-4",
        "SD 1.4",
        (
            "fe4efff1e174c627256e44ec2991ba279b3816e364b49f9be2abc0b3ff3f8556",  # sd-v1-4.ckpt
            "14749efc0ae8ef0329391ad4436feb781b402f4fece4883c7ad8d10556d8a36a",  # sd-v1-4-full-ema.ckpt
        ),
    ),
    KnownBase(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        "SD 1.5",
        (
            "6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",  # v1-5-pruned-emaonly.safetensors
            "cc6cb27103417325ff94f52b7a5d2dde45a7515b25c255d8e396c90014281516",  # v1-5-pruned-emaonly.ckpt
            "1a189f0be69d6106a48548e7626207dddd7042a418dbf372cefd05e0cdba61b6",  # v1-5-pruned.safetensors
            "e1441589a6f3c5a53f5f54d0975a18a7feb7cdf0b0dee276dfc3331ae376a053",  # v1-5-pruned.ckpt
        ),
    ),
    KnownBase(
        "stabilityai/stable-diffusion-2-base",
        "SD 2.0",
        ("d635794c1fedfdfa261e065370bea59c651fc9bfa65dc6d67ad29e11869a1824",),  # 512-base-ema.ckpt
    ),
    KnownBase(
        "stabilityai/stable-diffusion-2",
        "SD 2.0 768",
        ("bfcaf0755797b0c30eb00a3787e8b423eb1f5decd8de76c4d824ac2dd27e139f",),  # 768-v-ema.ckpt
    ),
    KnownBase(
        "stabilityai/stable-diffusion-2-1-base",
        "SD 2.1",
        ("88ecb782561455673c4b78d05093494b9c539fc6bfc08f3a9a4a0dd7b0b10f36",),  # v2-1_512-ema-pruned.ckpt
    ),
    KnownBase(
        "stabilityai/stable-diffusion-2-1",
        "SD 2.1 768",
        (
            "dcd690123cfc64383981a31d955694f6acf2072a80537fdb612c8e58ec87a8ac",  # v2-1_768-ema-pruned.safetensors
            "ad2a33c361c1f593c4a1fb32ea81afce2b5bb7d1983c6b94793a26a3b54b08a0",  # v2-1_768-ema-pruned.ckpt
        ),
    ),
    KnownBase(
        "stabilityai/stable-diffusion-xl-base-1.0",
        "SDXL 1.0",
        (
            "31e35c80fc4829d14f90153f4c74cd59c90b779f6afe05a74cd6120b893f7e5b",  # sd_xl_base_1.0.safetensors
            "e6bb9ea85bbf7bf6478a7c6d18b71246f22e95d41bcdd80ed40aa212c33cfeff",  # sd_xl_base_1.0_0.9vae.safetensors
        ),
    ),
)


def known_base(sha256: str) -> KnownBase | None:
    """Return the published model that a file with this sha256 (64 hex digits, any case) is; None for any other."""
    return next((base for base in KNOWN if sha256.lower() in base.sha256), None)
