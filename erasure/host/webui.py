"""The host is AUTOMATIC1111's web UI (1.10) or Forge. Only it and its neighbours ``webui_*`` import ``modules``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modules import (
    call_queue,
    devices,
    extra_networks,
    paths_internal,
    processing,
    progress,
    restart,
    sd_models,
    shared,
)

from erasure.errors import CheckpointError, EraseError, RunError
from erasure.families.known import supported
from erasure.host import uploads
from erasure.host.always_on import AlwaysOn, Rule
from erasure.host.base import HostCheckpoint, TextToImage
from erasure.host.webui_always_on import Keeper
from erasure.host.webui_always_setting import add_setting, always_on, set_always_on
from erasure.host.webui_model import bring_model_back, draw, put_model_away, wait_for_loading
from erasure.host.webui_watch import watch_exits, watch_lists, watch_reloads
from erasure.model.opening import Opening

if TYPE_CHECKING:
    from PIL import Image

SECTION = ("adversarial_erase", "Adversarial Erase")
DEVICE_OPTION = "adversarial_erase_device"
DATA_OPTION = "adversarial_erase_data"
DATA_FLAG = "adversarial_erase_data"  # as preload.py adds it
SAME_DEVICE = "the web UI's"
_USUAL_SIDE = 512  # the web UI's own
# What is used of the web UI here; what another one lacks would be found in the midst of a run.
_USED = {
    call_queue: ("queue_lock",),
    devices: ("device", "torch_gc"),
    extra_networks: ("ExtraNetworkParams", "activate", "extra_network_registry"),
    paths_internal: ("data_path", "models_path"),
    processing: ("StableDiffusionProcessing", "StableDiffusionProcessingTxt2Img", "process_images"),
    progress: ("add_task_to_queue", "create_task_id", "finish_task", "start_task"),
    restart: ("stop_program",),
    sd_models: (
        "checkpoint_aliases",
        "checkpoints_list",
        "list_models",
        "model_data",
        "select_checkpoint",
        "send_model_to_device",
        "unload_model_weights",
    ),
    shared: ("OptionHTML", "OptionInfo", "cmd_opts", "config_filename", "opts", "options_section", "state"),
}


class WebuiHost:
    """A :class:`erasure.host.base.Host` that asks the web UI for everything anew and remembers nothing of it."""

    name = "web UI"

    def __init__(self) -> None:
        self._held = False
        self._before_exit: Callable[[], None] | None = None
        self.keeper = Keeper(always_on)
        self.keeper.watch()
        watch_lists()
        self._reloading = watch_reloads(lambda: self._held)
        watch_exits(lambda: self._before_exit and self._before_exit())

    def checkpoints(self) -> list[HostCheckpoint]:
        return [_host_checkpoint(info) for info in list(sd_models.checkpoints_list.values())]

    def current_checkpoint(self) -> HostCheckpoint | None:
        """Return the selected one, loaded or not: Forge loads nothing before the first picture."""
        try:
            info = sd_models.select_checkpoint()
        except FileNotFoundError:  # AUTOMATIC1111's way to say that there is none; Forge returns None
            return None
        return None if info is None else _host_checkpoint(info)

    def opening(self, checkpoint: Path) -> Opening:
        """Return what it draws with. Forge and its kin do not know ``use_ema``, which AUTOMATIC1111 obeys."""
        return Opening(ema="plain" if _is_forge() else "auto", spare_vae=_chosen_vae(checkpoint))

    def folder_for_new(self, base: Path) -> Path:
        """Return the folder that the base lies in, which is one of the web UI's own."""
        return base.parent

    def look_for_checkpoints(self) -> None:
        sd_models.list_models()

    def lora_folder(self) -> Path:
        return Path(getattr(shared.cmd_opts, "lora_dir", None) or Path(paths_internal.models_path, "Lora")).absolute()

    def data_folder(self) -> Path:
        """Return the folder of the flag, else of the setting, else one beside ``models`` and ``outputs``.

        There it survives updates and new installations of the extension, and moves along with ``--data-dir``.
        """
        chosen = getattr(shared.cmd_opts, DATA_FLAG, None) or getattr(shared.opts, DATA_OPTION, "")
        return Path(chosen or Path(paths_internal.data_path, "adversarial-erase")).absolute()

    def device(self) -> str:
        chosen = getattr(shared.opts, DEVICE_OPTION, SAME_DEVICE)
        return str(devices.device) if chosen in ("", SAME_DEVICE) else str(chosen)

    @contextmanager
    def exclusive(self, title: str) -> Iterator[None]:
        """Hold the device, see :class:`erasure.host.base.Host`. The web UI shows a job called ``title`` meanwhile."""
        task = progress.create_task_id("adversarial-erase")
        progress.add_task_to_queue(task)
        # Callbacks run last to first: the model comes back, then the job ends, then the lock is released.
        with call_queue.queue_lock, ExitStack() as stack:
            stack.callback(self._end, task)
            self._begin(task, title)
            wait_for_loading()
            stack.callback(bring_model_back)
            put_model_away()
            yield

    def show_progress(self, step: int, steps: int, text: str, picture: Image.Image | None = None) -> None:
        state = shared.state
        # Set every time: a picture clears this when it cleans up, which is after it has released the lock.
        state.job_count, state.job_no = 1, 0
        state.sampling_steps, state.sampling_step = steps, step
        state.textinfo = text
        if picture is not None:
            state.assign_current_image(picture)

    def interrupted(self) -> bool:
        with self._reloading:
            return bool(shared.state.interrupted or shared.state.stopping_generation)

    def always_on(self) -> AlwaysOn:
        return always_on()

    def set_always_on(self, rules: Sequence[Rule]) -> None:
        set_always_on(rules)

    def uploads(self) -> bool:
        return bool(getattr(shared.cmd_opts, uploads.OPTION, False))

    def draw(self, request: TextToImage) -> Image.Image:
        side = request.size or self._native_side()
        with call_queue.queue_lock:
            shared.state.begin(job="adversarial-erase")
            try:
                return draw(request, side)
            finally:
                shared.state.end()

    def before_exit(self, save: Callable[[], None]) -> None:
        """Have ``save`` called when the web UI is about to end itself or is told to end, in place of any before."""
        self._before_exit = save

    def _native_side(self) -> int:
        from erasure.model.checkpoint import inspect_checkpoint

        checkpoint = self.current_checkpoint()
        if checkpoint is None:
            raise RunError(f"the web UI has no checkpoint; put {supported()} checkpoint into models/Stable-diffusion")
        try:
            return inspect_checkpoint(checkpoint.path).size.pixels
        except CheckpointError:  # the web UI can draw with more kinds of models than we can erase from
            return _USUAL_SIDE

    def _begin(self, task: str, title: str) -> None:
        shared.state.begin(job=title)  # also forgets an earlier Interrupt
        shared.state.job_count = 1
        shared.state.sampling_steps = 0
        shared.state.textinfo = title
        progress.start_task(task)
        self._held = True

    def _end(self, task: str) -> None:
        self._held = False
        shared.state.end()
        shared.state.interrupted = shared.state.stopping_generation = False
        progress.finish_task(task)


@cache
def host() -> WebuiHost:
    """Return the one host of this process: "Reload UI" runs scripts again, but the package stays imported.

    Raises: ImportError if the web UI has not all that is used of it.
    """
    for module, names in _USED.items():
        for name in names:
            if not hasattr(module, name):
                raise ImportError(f"{module.__name__} has no {name}", name=module.__name__)
    return WebuiHost()


def add_settings() -> None:
    """Add the extension's section to the settings page."""
    import gradio as gr

    choices = [SAME_DEVICE, "cpu", *_other_gpus()]
    device = shared.OptionInfo(
        SAME_DEVICE,
        "Device to erase concepts on",
        gr.Dropdown,
        {"choices": choices},
        section=SECTION,
    ).info("pictures wait while an erasure runs, on any device")
    data = shared.OptionInfo(
        "",
        "Folder for runs and your presets",
        gr.Textbox,
        {"placeholder": str(host().data_folder())},
        section=SECTION,
        restrict_api=True,  # or users of the API could have files written anywhere
    ).info("empty: adversarial-erase in the web UI's data folder; existing runs are not moved")
    shared.opts.add_option(DEVICE_OPTION, device)
    shared.opts.add_option(DATA_OPTION, data.needs_restart())
    add_setting(SECTION)


def api_accounts() -> str | None:
    """Return the logins of the web UI's own API, as in ``--api-auth``: "user:password", several with commas between."""
    return getattr(shared.cmd_opts, "api_auth", None)


def keep_private(demo: Any) -> None:
    """Keep gradio's ``/file=``, which gives everybody all below the web UI's folder, from giving out runs."""
    folder = str(host().data_folder())
    if demo is not None and folder not in demo.blocked_paths:
        demo.blocked_paths = [*demo.blocked_paths, folder]


def _other_gpus() -> list[str]:
    import torch

    count = torch.cuda.device_count()
    return [f"cuda:{index}" for index in range(count)] if count > 1 else []


def _host_checkpoint(info: Any) -> HostCheckpoint:
    # Not info.title: it changes once the hash is known, and an older page would offer a title that is gone.
    return HostCheckpoint(info.name, Path(info.filename).absolute())


def _is_forge() -> bool:
    return "modules_forge" in sys.modules


def _chosen_vae(checkpoint: Path) -> Path | None:
    """Return the VAE that the web UI would draw this checkpoint with; None if it is the checkpoint's own."""
    # Forge has one list of VAE and text encoders for all checkpoints.
    listed = getattr(shared.opts, "forge_additional_modules", None)
    if isinstance(listed, list):
        return next((Path(file) for file in map(str, listed) if _looks_like_vae(Path(file))), None)
    try:
        from modules import sd_vae

        found = sd_vae.resolve_vae(str(checkpoint)).vae
    except Exception:  # another version's; its pictures are then drawn without
        return None
    return Path(found) if found else None


def _looks_like_vae(file: Path) -> bool:
    """Whether the file's header has the first weight of a VAE's decoder."""
    from erasure.model.weights_file import open_weights

    try:
        return any(name.endswith("decoder.conv_in.weight") for name in open_weights(file).shapes)
    except (EraseError, OSError):
        return False
