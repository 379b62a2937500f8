"""What all parts share. ``shared.sd_model`` loads the model on first use."""

from __future__ import annotations

import argparse
import os
from typing import Any

from modules import options, shared_state
from modules.paths_internal import data_path, models_path, script_path  # noqa: F401

cmd_opts = argparse.Namespace(
    lora_dir=os.path.join(models_path, "Lora"),  # noqa: PTH118
    ckpt=os.path.join(data_path, "model.ckpt"),  # noqa: PTH118  the default, which is not there
    ckpt_dir=None,
    api_auth=None,
    freeze_settings=False,
    hide_ui_dir_config=False,
)
OptionInfo = options.OptionInfo
OptionHTML = options.OptionHTML
options_section = options.options_section
config_filename = os.path.join(data_path, "config.json")  # noqa: PTH118
opts = options.Options({"sd_model_checkpoint": OptionInfo(None, "checkpoint")}, set())
state = shared_state.State()
demo: Any = None


def __getattr__(name: str) -> Any:
    if name == "sd_model":
        from modules import sd_models

        return sd_models.model_data.get_sd_model()
    raise AttributeError(name)
