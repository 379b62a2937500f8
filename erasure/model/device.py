"""The devices of this machine: which there are, what they can compute, and the best one. Loads torch when asked."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from erasure.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from erasure.config.settings import Precision


def default_device() -> str:
    """Return ``cuda`` if available, else ``mps``, else ``cpu``."""
    import torch  # here, so that the command line can import this without torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def device_problem(name: str) -> str:
    """Return why nothing can be computed on the device of this name, in one line with what there is; "" if it can."""
    missing = absent(name)
    if missing or name == "cpu":
        return missing
    import torch

    try:
        torch.zeros(1, device=name).add(1).cpu()
    except torch.cuda.OutOfMemoryError:
        return ""  # it is there; what to do is said where memory is needed
    # torch raises NotImplementedError and AssertionError for backends that it was built without; others what they like.
    except Exception as error:
        if name.partition(":")[0] in ("cuda", "mps"):
            return f"{name} cannot be used: {_first_line(error)}"
        return _missing(name)
    return ""


def absent(name: str) -> str:
    """Return in one line that there is no device of this name, and what there is; "" if there may be one.

    Nothing is computed on it, so that who else works there is not disturbed.
    """
    if name == "cpu":
        return ""
    import torch

    try:
        with warnings.catch_warnings():  # of names that were devices once
            warnings.simplefilter("ignore")
            device = torch.device(name)
    except (RuntimeError, ValueError):
        return _missing(name)
    there = {
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
        "meta": False,  # for shapes alone
    }
    return "" if there.get(device.type, True) else _missing(name)


def _missing(name: str) -> str:
    return f"there is no device {name[:40]!r} here; there is {', '.join(known_devices())}"


def known_devices() -> list[str]:
    """Return the names of the devices of this machine that torch knows by itself."""
    import torch

    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    mps = ["mps"] if torch.backends.mps.is_available() else []
    return [*gpus, *mps, "cpu"]


def precision_problem(device: str | torch.device, precision: Precision) -> str:
    """Return why the U-Net cannot be computed in this precision on a device that is there, and what to use; or "".

    A tiny update is made: what a device can depends on its kind, its driver and the version of torch.
    """
    if precision == "fp32":
        return ""
    import torch

    where = torch.device(device)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float16
    if where.type == "cpu" and precision == "fp16":
        # It works in some versions, so slowly that no update ends within minutes.
        return "precision: fp16 is far too slow on a CPU; use fp32 or bf16"
    try:
        _tiny_update(where, dtype)
    except torch.cuda.OutOfMemoryError:
        return ""
    except Exception as error:  # every backend has errors of its own
        return f"precision: {where} cannot train in {precision}; use fp32 ({_first_line(error)})"
    return ""


def check_device(device: str | torch.device, precision: Precision = "fp32") -> None:
    """Raises: ConfigError if the device is not there, or cannot compute in this precision."""
    problem = device_problem(str(device))
    problem = f"device: {problem}" if problem else precision_problem(device, precision)
    if problem:
        raise ConfigError([problem])


def _tiny_update(device: torch.device, dtype: torch.dtype) -> None:
    """Do what an update does in half precision: convolve and multiply, train a weight in fp32, scale its gradient."""
    import torch
    from torch.nn.functional import conv2d, linear

    kernel = torch.ones(1, 1, 3, 3, device=device, dtype=dtype)
    weight = torch.ones(2, 2, device=device, requires_grad=True)
    with torch.autocast(device.type, dtype=dtype):
        z = conv2d(torch.ones(1, 1, 4, 4, device=device, dtype=dtype), kernel)
        out = linear(z.flatten(0, 2), weight)
    loss, optimizer = out.float().square().mean(), torch.optim.SGD([weight], 0.1)
    if dtype == torch.float16 and hasattr(torch.amp, "GradScaler"):
        scaler = torch.amp.GradScaler(device.type)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
    else:
        loss.backward()
    optimizer.step()
    weight.detach().cpu()


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:150] if text else type(error).__name__
