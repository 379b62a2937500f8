"""The weights that training starts from, and what they may read."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from erasure.concepts.hostile_wordings import HostileWording
from erasure.concepts.space import ConceptSpace
from erasure.config.settings import EraseConfig
from erasure.lora.adapter import load_lora_state, text_readers
from erasure.lora.parent import Parent
from erasure.model.model import Model
from erasure.training.closed_start import ClosedStart
from erasure.training.joint_start import joint_start
from erasure.training.null_space import NullSpace, projection
from erasure.training.preserved_states import preserved_states
from erasure.training.start_strength import Samples, find_strength
from erasure.training.text_start import TextStart
from erasure.training.text_start_sizes import has_text_start


@dataclass(frozen=True)
class FirstWeights:
    """Where training starts. ``null_space``: what the LoRA reads from, None for everything.

    ``edit``: of the U-Net or of the text encoders, that it starts from; None if it starts from anything else.
    """

    null_space: NullSpace | None = None
    edit: ClosedStart | TextStart | None = None

    def put(self) -> Iterator[float]:
        """Put the edit as it is now on the model, and yield the share that is done."""
        assert self.edit is not None
        yield from self.edit.put()
        if self.null_space is not None:
            self.null_space.follow()

    def fit(
        self,
        targets: Sequence[str],
        samples: Samples | None,
        wordings: Sequence[Sequence[HostileWording]],
    ) -> Generator[float, None, Fit]:
        """Fit the edit to what is known right before the first update, and put it on the model.

        ``targets``: their names, in order; ``samples``: by which it is made as strong as it must be, None for none;
        ``wordings``: of each target, those that a defence knows. Yields the share of the work at hand that is done.
        """
        assert self.edit is not None
        told, unseen = [], False
        if samples is not None and samples.known:
            strength = yield from find_strength(self.edit, self.put, samples, self.edit.limits)
            told.append(f"training starts from {self.edit.name} at {strength.told(targets)}")
            unseen = strength.unseen
        else:
            self.edit.strengthen(self.edit.limits.blind)
            yield from self.put()
        # Last, since the strength that is found with them would be for their sake.
        if count := self.edit.add_wordings(wordings):
            told.append(f"other wordings are then turned away as well ({count})")
            yield from self.put()
        if self.edit.told:
            told.append(self.edit.told)
        return Fit("; ".join(told), unseen)


class Fit(NamedTuple):
    """``told``: what is to be said of it; ``unseen``: whether samples of the edited model show no target any more."""

    told: str
    unseen: bool


def set_first_weights(
    model: Model, space: ConceptSpace, config: EraseConfig, parents: Sequence[Parent] = ()
) -> FirstWeights:
    """Set the LoRA that is on the model's U-Net to where training starts, and return what that is.

    ``parents``: LoRAs that it starts from in place of the config's start, but for what they change in text encoders:
    from there the edit of these goes on, if the config wants one. There is no null space if the config wants none, or
    if no layer of the LoRA reads prompts. Raises: LoraFileError if a parent does not fit.
    """
    reads = bool(text_readers(model.unet))
    preserved = preserved_states(model, space, config) if reads and (parents or config.null_space) else None
    start = joint_start(model, space, config, parents, preserved) if parents else None
    edit: ClosedStart | TextStart | None = None
    if has_text_start(config):
        edit = TextStart(model, space, config, parents)
    elif reads and not parents and config.start == "closed-form":
        edit = ClosedStart(model, space, config)
        edit.leave_idle_blocks()
    null_space = None
    if preserved is not None and config.null_space:
        null_space = NullSpace(model, projection(model, space, config, preserved.moment()))
    first = FirstWeights(null_space, edit)
    if start is not None:
        load_lora_state(model.unet, start)
        if null_space is not None:
            null_space.follow()
    elif edit is not None and edit.at_once:
        for _ in first.put():
            pass
    return first
