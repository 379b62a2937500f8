"""How an erasure begins: anew, or where it was interrupted. All that can be found wrong before work starts is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from erasure.concepts.clashes import start_problems
from erasure.config.methods import METHODS
from erasure.config.settle import asked_of
from erasure.config.values import config_from_dict
from erasure.errors import ConceptError, ConfigError, Diverged, RunError
from erasure.model.checkpoint import CheckpointInfo, inspect_checkpoint, sha256, short_hash
from erasure.model.configuration import configuration_of, differences
from erasure.model.device import check_device
from erasure.model.opening import Ema, Opening
from erasure.run.divergence import advice, diverged_before
from erasure.run.folder import Origin, RunFolder
from erasure.run.observers import MakeObserver
from erasure.run.output import check_output
from erasure.run.run import Run
from erasure.run.task import ADJUSTABLE, Task


def erase(task: Task, observers: Sequence[MakeObserver] = ()) -> Run:
    """Begin a new run; ``observers`` are made once its model is open, see :class:`Run`.

    Raises: CheckpointError, ConceptError, ConfigError, RunError, OutputExists if it cannot begin.
    """
    read = (task.checkpoint, task.opening.vae, *(parent.path for parent in task.parents))
    check_output(task.out, overwrite=task.overwrite, read=read)
    check_device(task.device, task.config.precision)
    if task.parents and METHODS[task.config.method].closed_form:
        raise ConfigError([f"method: {task.config.method} works in one step, so that no LoRAs can be its start"])
    problems = start_problems(task.config)
    if problems:
        raise ConceptError("; ".join(problems))
    checkpoint = inspect_checkpoint(task.checkpoint).opened(task.opening)
    path = checkpoint.path
    began = datetime.now(timezone.utc).timestamp()
    origin = Origin(
        # Not where a link leads to: the file there may have another name, and no yaml beside it.
        checkpoint=str(path.absolute()),
        sha256=sha256(path),
        short_hash=short_hash(path),
        out=str(task.out.resolve()),
        started=began,
        ema=("averaged" if checkpoint.averaged else "plain") if checkpoint.has_ema else "",
        vae="" if checkpoint.vae is None else str(checkpoint.vae.path.absolute()),
        configuration=configuration_of(checkpoint),
    )
    task.folder.create(origin, task.config, task.parents)
    if task.space is not None:
        task.folder.save_space(task.space)
    return Run(task, checkpoint, observers=observers)


def resume(
    folder: RunFolder,
    *,
    checkpoint: Path | None = None,
    device: str = "cpu",
    out: Path | None = None,
    overwrite: bool = False,
    changes: Mapping[str, object] | None = None,
    prompts: int | None = None,
    even_diverged: bool = False,
    vae: Path | None = None,
    observers: Sequence[MakeObserver] = (),
) -> Run:
    """Go on with a run that was interrupted. Without ``changes`` it ends with the weights that it would have had.

    ``checkpoint``: where the file lies now, if it was moved; ``changes``: settings of ``ADJUSTABLE``, for a run that
    diverged or ran out of memory; ``vae``: another VAE to draw pictures with. Raises: RunError if there is nothing to
    resume, or the checkpoint is no longer the same file; Diverged if the run did and is not to make more steps;
    CheckpointError, ConfigError.
    """
    refused = sorted(set(changes or {}) - set(ADJUSTABLE))
    if refused:
        raise ConfigError([f"{name}: a resumed run cannot change it, only {', '.join(ADJUSTABLE)}" for name in refused])
    origin, used = folder.read()
    config = config_from_dict({**asked_of(used), **changes}) if changes else used
    if bool(config.pace) != bool(used.pace):
        raise ConfigError(["pace: a resumed run can change it, but not begin or cease to have one"])
    worse = "" if even_diverged else diverged_before(config, folder.events(), longer="steps" in (changes or {}))
    if worse:
        raise Diverged(
            f"the training of this run diverged: {worse}. It is over, and resuming it would end the same way. Begin "
            f"anew with {advice(used)}; the other settings are in {folder.path / 'run.json'}, which --config takes"
        )
    task = Task(
        checkpoint=checkpoint or Path(origin.checkpoint),
        out=out or Path(origin.out),
        folder=folder,
        config=config,
        device=device,
        overwrite=overwrite,
        prompts=prompts,
        space=folder.space(),
        even_diverged=even_diverged,
        parents=folder.parents(),
    )
    before = (vae, Path(origin.vae) if origin.vae else None)
    check_output(task.out, overwrite=overwrite, read=(task.checkpoint, *before))
    check_device(device, config.precision)
    if checkpoint is None and not task.checkpoint.exists():
        raise RunError(
            f"the checkpoint that this run began with is no longer at {task.checkpoint}; put it back, or, on the "
            "command line, say with --checkpoint where it lies now"
        )
    found = inspect_checkpoint(task.checkpoint)
    if sha256(found.path) != origin.sha256:
        raise RunError(
            f"{found.path.name} is not the checkpoint that this run began with (its sha256 differs); "
            "put the old file back, or start a new run"
        )
    if apart := differences(origin.configuration, found):
        raise RunError(
            f"{found.path.name} would be read in another way than when this run began ({', '.join(apart)}), by "
            f"{found.config.name}; put the file back that lay beside the checkpoint then, with the same name, or take "
            "this one away if there was none; or start a new run"
        )
    return Run(task, found.opened(_as_before(origin, found, vae)), from_state=True, observers=observers)


def _as_before(origin: Origin, checkpoint: CheckpointInfo, vae: Path | None) -> Opening:
    """Return how the checkpoint was opened when the run began; with another VAE if one is given."""
    # Older runs do not say it: the averaged weights were taken wherever there were some.
    ema: Ema = "averaged" if origin.ema == "averaged" or (not origin.ema and checkpoint.has_ema) else "plain"
    before = Path(origin.vae) if origin.vae else None
    if vae is None and before is not None and before.exists():
        vae = before
    return Opening(ema, vae, spare_vae=before)
