"""The model that the web UI has loaded: it is put away for a run, and draws pictures."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from modules import devices, processing, sd_models, shared

from erasure.errors import EraseError, OutOfMemory, RunError
from erasure.host.base import TextToImage

if TYPE_CHECKING:
    from PIL import Image


def wait_for_loading() -> None:
    """Wait until AUTOMATIC1111 has loaded its first model.

    It does so in a thread without the queue's lock, and layers built meanwhile in other threads come out empty.
    """
    lock = getattr(sd_models.model_data, "lock", None)
    if lock is not None:
        with lock:
            pass


def put_model_away() -> None:
    """Take the model off the device, so that its memory is free."""
    model = sd_models.model_data.sd_model
    if model is not None:  # otherwise asking for it would load it
        sd_models.unload_model_weights(model)


def bring_model_back() -> None:
    """Undo :func:`put_model_away`."""
    devices.torch_gc()
    model = sd_models.model_data.sd_model
    if model is not None:
        sd_models.send_model_to_device(model)


def draw(request: TextToImage, side: int) -> Image.Image:
    """Return a picture of the web UI. Raises: OutOfMemory, RunError."""
    p = processing.StableDiffusionProcessingTxt2Img(
        sd_model=shared.sd_model,
        prompt=request.prompt,
        negative_prompt=request.negative,
        seed=request.seed,
        steps=request.steps,
        cfg_scale=request.guidance,
        width=side,
        height=side,
        do_not_save_samples=True,
        do_not_save_grid=True,
    )
    try:
        with closing(p):
            pictures: list[Image.Image] = processing.process_images(p).images
    except EraseError:
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise OutOfMemory("the device ran out of memory while drawing; choose a smaller size") from error
        raise RunError(f"the web UI could not draw the picture: {type(error).__name__}: {error}") from error
    if not pictures or shared.state.interrupted:
        raise RunError("drawing the picture was interrupted; try again")
    return pictures[0]
