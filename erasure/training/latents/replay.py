"""Where noisy latents come from: the part of training that decides its cost.

Both sources answer one question: give me a state (z_t, t) on the way of sampling this prompt. :class:`FreshLatents`
answers as the published code does, with a new run of the tuned model for every draw. :class:`ReplayLatents` keeps
trajectories, extends each only as far as a draw needs, and hands out the frozen model's predictions made on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from erasure.config.settings import EraseConfig
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.model import Model
from erasure.model.sampling import alpha_bar_after, ddim_step, ddim_timesteps, guided_eps
from erasure.training.latents.source import LatentSource, LatentState


@dataclass
class Trajectory:
    """A run of DDIM, as far as it was needed: z has one entry more than eps. Kept in fp16 on the CPU."""

    offset: int
    z: list[Tensor]
    eps: list[Tensor] = field(default_factory=list)
    eps_null: list[Tensor] = field(default_factory=list)
    uses: int = 0

    def advance(self, z: Tensor, eps: Tensor, eps_null: Tensor | None) -> None:
        self.z.append(_stored(z))
        self.eps.append(_stored(eps))
        if eps_null is not None:
            self.eps_null.append(_stored(eps_null))


def _stored(x: Tensor) -> Tensor:
    return x.detach().to("cpu", torch.float16)


class ReplayLatents(LatentSource):
    """Trajectories with few, jittered steps, each used several times.

    The step is drawn first and the run goes no further than that. A later draw of the same prompt finds earlier
    states at no cost, or goes on from where the run stopped. Timesteps are shifted by a random offset per trajectory,
    so that all of them are trained. Prompts that need to move are moved in one batch. The frozen model's predictions on
    its own trajectories are the training goals there, so these cost nothing either.
    """

    # Bounds the memory: at 512 px a trajectory of 10 steps takes up to 1 MB.
    CAPACITY = 512

    def __init__(self, model: Model, config: EraseConfig):
        self._model = model
        self._steps = config.sampling_steps
        self._early_steps = config.early_steps
        self._guidance = config.sampling_guidance
        self._reuse = config.reuse or config.sampling_steps
        self._known: dict[tuple[str, bool], Trajectory] = {}

    def draw(
        self, prompts: Sequence[Prompt], generator: Generator, *, tuned: bool, early: bool = False
    ) -> list[LatentState]:
        """States on trajectories of the frozen model, or of the tuned one as it was when it took each step."""
        runs = [self._trajectory(prompt, generator, tuned) for prompt in prompts]
        steps = self._early_steps if early else self._steps
        reached = [int(torch.randint(steps, (), generator=generator)) for _ in prompts]
        # The frozen model's prediction at the state itself is wanted as well: one step more.
        needed = [step if tuned else step + 1 for step in reached]
        with torch.no_grad():
            if tuned:
                self._advance(prompts, runs, needed)
            else:
                with self._model.frozen():
                    self._advance(prompts, runs, needed)
        return [self._state(run, step, tuned) for run, step in zip(runs, reached, strict=True)]

    def _timesteps(self, run: Trajectory) -> list[int]:
        return ddim_timesteps(self._steps, self._model.train_steps, offset=run.offset)

    def _trajectory(self, prompt: Prompt, generator: Generator, tuned: bool) -> Trajectory:
        run = self._known.pop((prompt.text, tuned), None)
        if run is None or run.uses >= self._reuse:
            stride = self._model.train_steps // self._steps
            offset = int(torch.randint(1, stride + 1, (), generator=generator))
            run = Trajectory(offset, [_stored(self._model.noise(generator))])
        run.uses += 1
        self._known[prompt.text, tuned] = run  # last in, so that the first is the least recently used
        while len(self._known) > self.CAPACITY:
            self._known.pop(next(iter(self._known)))
        return run

    def _advance(self, prompts: Sequence[Prompt], runs: Sequence[Trajectory], needed: Sequence[int]) -> None:
        model, null = self._model, self._model.embed([""])
        while True:
            # Two draws of one prompt share a run, which must move once.
            moving = {id(run): (prompt, run) for prompt, run, goal in zip(prompts, runs, needed, strict=True)
                      if len(run.eps) < goal}  # fmt: skip
            if not moving:
                return
            z = torch.stack([run.z[-1] for _, run in moving.values()]).to(model.device, torch.float32)
            plans = [self._timesteps(run) for _, run in moving.values()]
            at = [len(run.eps) for _, run in moving.values()]
            t = torch.tensor([plan[i] for plan, i in zip(plans, at, strict=True)], device=model.device)
            conditioning = Conditioning.cat([prompt.conditioning.detach() for prompt, _ in moving.values()])
            guided, eps, eps_null = guided_eps(model.eps, z, t, conditioning, null, self._guidance)
            after = [alpha_bar_after(model.alphas_cumprod, plan, i, 1) for plan, i in zip(plans, at, strict=True)]
            z = ddim_step(z, guided, model.alphas_cumprod[t], torch.cat(after))
            for row, (_, run) in enumerate(moving.values()):
                run.advance(z[row], eps[row], None if eps_null is None else eps_null[row])

    def _state(self, run: Trajectory, step: int, tuned: bool) -> LatentState:
        device = self._model.device
        t = self._timesteps(run)[step]
        z = run.z[step].to(device, torch.float32)
        if tuned:
            return LatentState(z, t)
        eps = run.eps[step].to(device, torch.float32)
        eps_null = run.eps_null[step].to(device, torch.float32) if run.eps_null else None
        return LatentState(z, t, eps, eps_null)

    def tensors(self) -> dict[str, Tensor]:
        """Names are ``<number>.<tuned 0/1>.<offset>.<uses>.<part>.<text>``: the order and all of a trajectory."""
        tensors = {}
        for number, ((text, tuned), run) in enumerate(self._known.items()):
            head = f"{number:05d}.{int(tuned)}.{run.offset}.{run.uses}"
            for part in ("z", "eps", "eps_null"):
                if getattr(run, part):
                    tensors[f"{head}.{part}.{text}"] = torch.stack(getattr(run, part))
        return tensors

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        self._known = {}
        for name in sorted(tensors):
            _, tuned, offset, uses, part, text = name.split(".", 5)
            run = self._known.setdefault((text, tuned == "1"), Trajectory(int(offset), [], uses=int(uses)))
            setattr(run, part, list(tensors[name].unbind()))
