"""What the web UI does by itself, and must not do to a run or to what is selected: its own functions are wrapped."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from pathlib import Path

from modules import restart, sd_models, shared

from erasure.host.exits import before_signals

_CHECKPOINT_OPTION = "sd_model_checkpoint"


def watch_lists() -> None:
    """Let the selected checkpoint stay selected when the web UI looks again which there are.

    Started with ``--ckpt``, it selects that one each time, and draws with it from then on. It does so for us, too: our
    page presses its Refresh when there is a new LoRA or checkpoint.
    """
    look = sd_models.list_models

    def list_models() -> None:
        before = shared.opts.data.get(_CHECKPOINT_OPTION)
        look()
        now = sd_models.checkpoint_aliases.get(shared.opts.data.get(_CHECKPOINT_OPTION))
        # Where none was given, this is a file that is usually not there.
        given = Path(getattr(shared.cmd_opts, "ckpt", None) or "").resolve()
        # Any other was selected by someone while it looked; and one that is gone cannot be.
        if now and Path(now.filename).resolve() == given and before in sd_models.checkpoint_aliases:
            shared.opts.data[_CHECKPOINT_OPTION] = before

    sd_models.list_models = list_models


def watch_reloads(running: Callable[[], bool]) -> threading.Lock:
    """Let "Reload UI" interrupt pictures only: it also presses Interrupt, but a run goes on through a reload.

    ``running``: whether a run holds the device. Returns what is locked while Interrupt does not mean what it says.
    """
    state, reloading = shared.state, threading.Lock()
    reload = state.request_restart

    def request_restart() -> None:
        with reloading:
            before = state.interrupted
            reload()
            if running():
                state.interrupted = before

    state.request_restart = request_restart
    return reloading


def watch_exits(before_exit: Callable[[], object]) -> None:
    """Let runs be saved first when the web UI ends: it does so by ``os._exit``, which nothing else is told of.

    That is how it obeys Ctrl-C, "Apply and restart UI" on the page of extensions, and its own API.
    """
    stop = restart.stop_program

    def save() -> None:
        try:
            before_exit()
        except Exception:  # whatever it is, the web UI ends
            traceback.print_exc()

    def stop_program() -> None:
        save()
        stop()

    restart.stop_program = stop_program
    before_signals(save)
