"""A LoRA on a model's text encoders, and one step of training it on what they say of prompts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from erasure.config.settings import EraseConfig
from erasure.errors import LoraFileError
from erasure.lora.adapter import (
    DOWN,
    UP,
    inject_lora_on,
    load_lora_state,
    lora_layers,
    lora_parameters,
    lora_state,
    without_lora,
)
from erasure.lora.layer_choice import base_layers
from erasure.lora.low_rank import truncated
from erasure.lora.model_adapter import TEXT_LAYERS
from erasure.model.denoiser import half_precision
from erasure.model.model import Model
from erasure.model.text_reader import TextReader
from erasure.training.gradient_scale import gradient_scaler

# States behind the end token are padding: of them so many are read, and they count as much as this.
PADDING_READ, PADDING = 4, 0.1
# The norm that gradients are cut off at.
CLIP = 1.0
# So many tokens, times layers, times width, go through a text encoder at once: about 500 tokens of SDXL's larger one,
# whose activations then take about a gigabyte in bf16.
AT_ONCE = 20_000_000
# What frozen text encoders said of so many prompts of goals is remembered, on the CPU.
REMEMBERED = 1024


@dataclass(frozen=True)
class _Said:
    """What one text encoder says of a prompt: states (n, d) up to a little behind its end token, pooled (p,) or None.

    ``weights`` (n,): how much each state counts.
    """

    states: Tensor
    pooled: Tensor | None
    weights: Tensor

    def to(self, device: torch.device) -> _Said:
        """Return it on a device."""
        pooled = None if self.pooled is None else self.pooled.to(device)
        return _Said(self.states.to(device), pooled, self.weights.to(device))


class TextTuning:
    """Puts a LoRA that changes nothing yet on the text encoders, with the rank and alpha of the config."""

    def __init__(self, model: Model, config: EraseConfig):
        self._model, self._config = model, config
        self._readers = model.parts.texts
        for number, reader in enumerate(self._readers):
            names = [name for name in base_layers(reader.encoder) if _is_trained(name, reader)]
            inject_lora_on(reader.encoder, names, config.rank, config.alpha, config.seed + 1 + number)
        self._scaler = gradient_scaler(model.dtype, model.device)
        self._known: OrderedDict[str, list[_Said]] = OrderedDict()
        self._units: list[tuple[float, float]] = []  # of each reader: how much states and pooled of words differ

    def go_on_from(self, changes: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """Set the LoRA to changes of layers, by module path in the model, as well as its rank holds them.

        Raises: LoraFileError if it does not have one of the layers.
        """
        scale, known = self._config.alpha / self._config.rank, set()
        for reader in self._readers:
            state = lora_state(reader.encoder)
            for name in lora_layers(reader.encoder):
                path = f"{reader.family.part}.{name}"
                known.add(path)
                if path in changes:
                    cut = truncated(*changes[path], self._config.rank)
                    used = len(cut.down)
                    state[name + DOWN][:used] = cut.down.to(state[name + DOWN])
                    state[name + UP][:, :used] = (cut.up / scale).to(state[name + UP])
            load_lora_state(reader.encoder, state)
        others = [path for path in changes if path not in known]
        if others:
            raise LoraFileError(
                f"the LoRAs change layers of the text encoders that are not trained ({len(others)}, such as "
                f"{others[0]}); only their MLPs are. Add the files up without training"
            )

    def optimizer(self, rate: float) -> torch.optim.Adam:
        """Return a new optimizer of the LoRA."""
        return torch.optim.Adam(self._parameters(), lr=rate)

    def state(self) -> list[dict[str, Tensor]]:
        """Return a copy of the LoRA's weights."""
        return [lora_state(reader.encoder) for reader in self._readers]

    def load(self, state: Sequence[dict[str, Tensor]]) -> None:
        """Undo :meth:`state`."""
        for reader, own in zip(self._readers, state, strict=True):
            load_lora_state(reader.encoder, own)

    def step(
        self,
        optimizer: torch.optim.Adam,
        rate: float,
        erased: Sequence[str],
        goals: Sequence[Sequence[str]],
        strengths: Sequence[float],
        preserved: Sequence[str],
        preserve: float,
    ) -> tuple[float, list[float]]:
        """Make one step; return the loss before it, and how far each preserved prompt had moved.

        ``goals``: prompts that each erased one turns into the average of; ``strengths``: how far it is moved towards
        that, 1 being all the way; ``preserve``: lambda.
        """
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        own = self._frozen(erased, again=True)
        into = self._anchors(goals)
        wanted = [
            [_moved(one, [anchor[k] for anchor in anchors], strength) for k, one in enumerate(said)]
            for said, anchors, strength in zip(own, into, strengths, strict=True)
        ]
        if not self._units:
            self._units = self._differences([each[0] for each in into])
        # One backward pass after the other, as all at once take far more memory.
        erase = self._descend(erased, wanted, 1.0)
        kept = self._descend(preserved, self._frozen(preserved, again=False), preserve)
        self._scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(self._parameters(), CLIP)
        self._scaler.step(optimizer)
        self._scaler.update()
        return float(erase.mean() + preserve * kept.mean()), kept.tolist()

    def _descend(self, prompts: Sequence[str], wanted: Sequence[list[_Said]], weight: float) -> Tensor:
        """Send ``weight`` times the mean distance of prompts from what is wanted backward; return distances (b,)."""
        found = torch.zeros(len(prompts), device=self._model.device)
        for chunk in self._chunks(wanted):
            apart = self._distances([prompts[i] for i in chunk], [wanted[i] for i in chunk])
            self._scaler.scale(weight * (apart.sum() / len(prompts))).backward()
            found[chunk] = apart.detach()
        return found

    def _chunks(self, wanted: Sequence[Sequence[_Said]]) -> list[list[int]]:
        """Return prompts, by number, that go through the text encoders together: of about one length where not all can.

        All are padded to the longest of their chunk.
        """
        tokens = min(AT_ONCE // _size(reader.encoder.config) for reader in self._readers)
        lengths = [max(len(said.states) for said in each) for each in wanted]
        if max(lengths) * len(lengths) <= tokens:
            return [list(range(len(lengths)))]
        chunks: list[list[int]] = [[]]
        for i in sorted(range(len(lengths)), key=lambda i: lengths[i]):
            if chunks[-1] and lengths[i] * (len(chunks[-1]) + 1) > tokens:
                chunks.append([])
            chunks[-1].append(i)
        return chunks

    def _parameters(self) -> list[nn.Parameter]:
        return [weight for reader in self._readers for weight in lora_parameters(reader.encoder)]

    def _distances(self, prompts: Sequence[str], wanted: Sequence[Sequence[_Said]]) -> Tensor:
        """Return (b,): the mean squared distance of what is said of each prompt from what is wanted, in units."""
        total = torch.zeros(len(prompts), device=self._model.device)
        with torch.enable_grad(), half_precision(self._model.device, self._model.dtype):
            for k, reader in enumerate(self._readers):
                ids = self._ids(reader, prompts)
                states, pooled = reader.read(ids)
                weights = _padded([said[k].weights for said in wanted], ids.shape[1])
                goal = _padded([said[k].states for said in wanted], ids.shape[1])
                unit, pooled_unit = self._units[k]
                apart = ((states - goal).square().mean(-1) / unit * weights).sum(1) / weights.sum(1)
                if pooled is not None:
                    ends = torch.stack([end for end in (said[k].pooled for said in wanted) if end is not None])
                    apart = apart + (pooled - ends).square().mean(-1) / pooled_unit
                total = total + apart / len(self._readers)
        return total

    @torch.no_grad()
    def _frozen(self, prompts: Sequence[str], *, again: bool) -> list[list[_Said]]:
        """Return what each frozen text encoder says of each prompt; ``again``: whether they will be asked for again."""
        found = {text: self._known[text] for text in prompts if text in self._known}
        missing = [text for text in dict.fromkeys(prompts) if text not in found]
        if missing:
            read = [self._said(reader, missing) for reader in self._readers]
            found |= {text: [each[number] for each in read] for number, text in enumerate(missing)}
        if again:
            self._known |= {text: [said.to(torch.device("cpu")) for said in found[text]] for text in missing}
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return [[said.to(self._model.device) for said in found[text]] for text in prompts]

    def _anchors(self, goals: Sequence[Sequence[str]]) -> list[list[list[_Said]]]:
        """Return what each frozen text encoder says of the prompts of each goal; all are read at once."""
        said = iter(self._frozen([prompt for goal in goals for prompt in goal], again=True))
        return [[next(said) for _ in goal] for goal in goals]

    def _said(self, reader: TextReader, prompts: Sequence[str]) -> list[_Said]:
        ids = self._ids(reader, prompts)
        with without_lora(reader.encoder), half_precision(self._model.device, self._model.dtype):
            states, pooled = reader.read(ids)
        ends = reader.ends(ids)
        place = torch.arange(ids.shape[1], device=ids.device)
        weights = torch.where(place[None] <= ends[:, None] + 1, 1.0, PADDING)
        lengths = (ends + 1 + PADDING_READ).clamp_max(ids.shape[1]).tolist()
        return [
            _Said(states[i, :n].clone(), None if pooled is None else pooled[i].clone(), weights[i, :n].clone())
            for i, n in enumerate(lengths)
        ]

    def _ids(self, reader: TextReader, prompts: Sequence[str]) -> Tensor:
        """Return tokens (b, n) of prompts with a little padding behind the longest: text encoders are causal."""
        ids = reader.ids(prompts)
        longest = int(reader.ends(ids).max()) + 1 + PADDING_READ
        return ids[:, : min(longest, ids.shape[1])]

    def _differences(self, words: Sequence[Sequence[_Said]]) -> list[tuple[float, float]]:
        """Return, of each text encoder, the mean square by which states of words differ, and pooled embeddings."""
        units = []
        for k in range(len(self._readers)):
            least = min(len(said[k].states) for said in words)
            states = torch.stack([said[k].states[:least] for said in words])
            pooled = [said[k].pooled for said in words]
            ends = [each for each in pooled if each is not None]
            units.append((_spread(states), _spread(torch.stack(ends)) if ends else 1.0))
        return units


def _size(config: Any) -> int:
    """Return what a token's activations grow with: layers times width, by a text encoder's configuration."""
    return int(config.num_hidden_layers) * int(config.hidden_size)


def _is_trained(name: str, reader: TextReader) -> bool:
    """Whether a layer is trained, by its module path: of the MLPs those that have a part in what is read.

    What a text encoder knows of a word is in its MLPs; where attention was trained as well, near words were hurt more.
    """
    if TEXT_LAYERS not in name or ".mlp." not in name:
        return False
    family = reader.family
    skipped = 0 if family.final_norm or family.pooled else family.skipped
    number = int(name.partition(TEXT_LAYERS)[2].partition(".")[0])
    return number < int(reader.encoder.config.num_hidden_layers) - skipped


def _moved(own: _Said, anchors: Sequence[_Said], strength: float) -> _Said:
    """Return what is wanted of an erased prompt: the way to the average of its anchors, ``strength`` times."""
    length = len(own.states)
    into = torch.stack([_lengthened(anchor.states, length) for anchor in anchors]).mean(0)
    states = own.states + strength * (into - own.states)
    pooled = None
    if own.pooled is not None:
        ends = torch.stack([anchor.pooled for anchor in anchors if anchor.pooled is not None]).mean(0)
        pooled = own.pooled + strength * (ends - own.pooled)
    return _Said(states, pooled, own.weights)


def _lengthened(states: Tensor, length: int) -> Tensor:
    """Return states (length, d): of a shorter prompt the last one, which is padding, again and again."""
    if len(states) >= length:
        return states[:length]
    return torch.cat([states, states[-1:].expand(length - len(states), -1)])


def _padded(rows: Sequence[Tensor], length: int) -> Tensor:
    """Stack rows of different lengths; what is missing is zero, as are the weights there."""
    padded = rows[0].new_zeros((len(rows), length, *rows[0].shape[1:]))
    for number, row in enumerate(rows):
        padded[number, : len(row)] = row[:length]
    return padded


def _spread(values: Tensor) -> float:
    """Return the mean square by which the first dimension's entries differ from their mean."""
    return max(float((values - values.mean(0)).square().mean()), 1e-12)
