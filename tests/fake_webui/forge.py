"""What Forge does differently from AUTOMATIC1111."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from modules import devices, sd_models, shared


class FakeInitialModel:
    """Takes the model's place until the first picture."""

    device = None


class Forge:
    """Turns the stand-in into Forge; ``unloaded`` counts how often all models were taken out of memory."""

    def __init__(self) -> None:
        self.unloaded = 0
        sys.modules["modules_forge"] = ModuleType("modules_forge")
        sd_models.model_data.sd_model = FakeInitialModel()
        del sd_models.model_data.lock
        sd_models.model_data.get_sd_model = lambda: sd_models.model_data.sd_model
        sd_models.select_checkpoint = self.select_checkpoint
        sd_models.reload_model_weights = self.reload_model_weights
        sd_models.unload_model_weights = self.unload_model_weights
        sd_models.send_model_to_device = lambda m: None

    def select_checkpoint(self) -> Any:
        chosen = sd_models.checkpoint_aliases.get(shared.opts.sd_model_checkpoint)
        return chosen or next(iter(sd_models.checkpoints_list.values()), None)

    def unload_model_weights(self, sd_model: Any = None, info: Any = None) -> None:
        self.unloaded += 1
        if isinstance(sd_models.model_data.sd_model, sd_models.Model):
            sd_models.model_data.sd_model.device = devices.cpu

    def reload_model_weights(self, sd_model: Any = None, info: Any = None) -> Any:
        """Bring the model into memory; every picture begins with this."""
        model = sd_models.Model(self.select_checkpoint())
        model.device = devices.device
        sd_models.model_data.sd_model = model
        return model
