"""Refining: several LoRAs, all together, as the start of a short training over all that they erase and preserve.

Sums of erasures hurt more than each alone, and what one takes away another may bring back. How training starts from
them is told in :mod:`erasure.training.joint_start`.
"""

from __future__ import annotations

from typing import Any

from erasure.combine.joint import Joint
from erasure.combine.rows import ROWS, rows_problems, within
from erasure.combine.task import CombineTask
from erasure.config.concept_texts import as_written, folded
from erasure.config.methods import METHODS
from erasure.config.settings import EraseConfig, settings
from erasure.config.settle import with_changes
from erasure.errors import ConfigError
from erasure.lora.parent import Parent

_LISTED = 5  # names of files


def refine_config(task: CombineTask, rows: Any = ROWS) -> EraseConfig:
    """Return the settings of the training that refines what a task makes.

    ``rows``: of the U-Net that it may take, for training and for looks; steps that the order gives count more. Raises:
    ConfigError if the files do not say what they erase, or if their settings do not go together.
    """
    problems, joint = rows_problems(rows), task.joint
    if joint.silent and not task.named:
        names = ", ".join(joint.silent[:_LISTED])
        problems.append(f"erase: {names} cannot be refined without saying what is erased; name the concepts")
    elif joint.config is None:
        problems.append(f"erase: the files cannot be refined together: {joint.problem}")
    elif METHODS[joint.config.method].closed_form:
        problems.append(f"method: {joint.config.method} works in one step, so that it cannot refine anything")
    if problems or joint.config is None:
        raise ConfigError(problems)
    rank = trained_rank(task)
    # Training starts from the files instead of where the config says; their edits of text encoders go on.
    start = "text-encoder" if task.changes_text else "zero"
    own = {"layers": task.layers, "rank": rank, "alpha": float(rank), "start": start}
    config = with_changes(joint.config, **own, **_known_names(joint))
    return config if (joint.config.asked or {}).get("steps") else within(config, rows, len(task.loras))


def _known_names(joint: Joint) -> dict[str, Any]:
    """Return the settings with which no other name is measured again, if the files tell those of every target."""
    config = joint.config
    if config is None or not all(target in joint.along for target in config.erase):
        return {}
    names = dict.fromkeys((*config.synonym, *(name for target in config.erase for name in joint.along[target])))
    own = set(map(folded, config.erase))
    others = [name for name in names if folded(name) not in own]
    return {**as_written({"synonym": others}), "synonym_threshold": 0.0}


def trained_rank(task: CombineTask) -> int:
    """Return the rank of the training: that which was asked for, or that of the method, if the files have as much."""
    wanted = task.rank or METHODS["adversarial"].rank(len(task.joint.erases))
    return min(wanted, max(map(task.rank_of, task.modules)), int(settings()["rank"].high or 1))


def parents_of(task: CombineTask) -> tuple[Parent, ...]:
    """Return the files as a run takes them: each with the targets of the joint settings that are its own."""
    return tuple(
        Parent(file.path, weight, own) for (file, weight), own in zip(task.loras, task.joint.each, strict=True)
    )
