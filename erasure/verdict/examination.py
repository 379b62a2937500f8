"""The examination: the pictures of a panel are judged before erasing and after it, from the same noise."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from statistics import fmean

import torch
from torch import Tensor

from erasure.config.template import fill
from erasure.errors import RunError
from erasure.judge.album import Album, Picture
from erasure.judge.judge import Query
from erasure.judge.scale import Scale
from erasure.model.conditioning import Conditioning, Prompt
from erasure.model.drawing import counted_steps, relayed, run_to_end
from erasure.model.model import Model
from erasure.model.rows import Purpose
from erasure.verdict.panel import PANEL_SIZES, Member, PanelSizes, Shot, panel_shots
from erasure.verdict.verdict import Finding, Verdict

# How much of the work before is done once all is drawn, and once that is judged as itself; and how much of that after
# once all is drawn. By U-Net rows.
_DRAWN, _OWN_JUDGED, _DRAWN_AFTER = 0.63, 0.83, 0.73
# From a shot's seed to another noise.
_OTHER_SEED = 500_000


class Examination:
    """Judges a panel. :meth:`before` comes first: it calibrates the judge on the frozen model's pictures.

    The scale of a member is made from its own pictures; pictures of other things are those of unrelated words and of no
    concept, judged as the targets. What its album holds is neither drawn nor judged anew.
    """

    def __init__(
        self,
        model: Model,
        album: Album,
        panel: Sequence[Member],
        templates: Sequence[str],
        sizes: PanelSizes = PANEL_SIZES,
    ):
        self.panel = tuple(panel)
        self.shots = panel_shots(panel, templates, sizes)
        self._model = model
        self._album = album
        self._judge = album.judge
        self._targets = [i for i, member in enumerate(self.panel) if member.role == "target"]
        self._latents: Tensor | None = None  # before, of all shots
        self._own: list[float] = []  # before, of all shots but those without a concept
        self._as_target: dict[tuple[int, int], float] = {}  # (shot, target's member) -> score
        self._absent: list[float] = []  # per target

    @property
    def pictures(self) -> int:
        """How many pictures are judged before."""
        return len(self.shots)

    # --- before

    def before(self) -> Generator[float, None, None]:
        """Draw and judge with the frozen model, unless that is known already. Yields the share that is done."""
        if self._latents is not None:
            return
        drawing = self._album.draw([_picture(shot) for shot in self.shots], "verdict")
        latents = yield from relayed(drawing, lambda share: _DRAWN * share)
        own = [(_picture(shot), Query(shot.prompt, shot.rest)) for shot in self.shots if shot.member >= 0]
        self._own = yield from relayed(
            self._album.score_steps(own, "verdict"), lambda share: _DRAWN + (_OWN_JUDGED - _DRAWN) * share
        )
        yield from relayed(self._judge_as_targets(), lambda share: _OWN_JUDGED + (1 - _OWN_JUDGED) * share)
        self._latents = latents
        self._album.clear()
        self._calibrate()

    def _judge_as_targets(self) -> Generator[float, None, None]:
        """Ask of every picture of a near word whether it shows its target, and of the others whether they show any."""
        asked: list[tuple[int, int]] = []
        for k, shot in enumerate(self.shots):
            if shot.member < 0 or self.panel[shot.member].role == "unrelated":
                asked += [(k, target) for target in self._targets]
            elif self.panel[shot.member].role == "near":
                asked.append((k, self._targets[self.panel[shot.member].target]))
        queries = [(_picture(self.shots[k]), self._query(self.shots[k], target)) for k, target in asked]
        scores = yield from self._album.score_steps(queries, "verdict")
        self._as_target = dict(zip(asked, scores, strict=True))

    def _query(self, shot: Shot, member: int) -> Query:
        return Query(fill(shot.template, self.panel[member].concept), shot.rest)

    def _calibrate(self) -> None:
        other = {
            k for k, shot in enumerate(self.shots) if shot.member < 0 or self.panel[shot.member].role == "unrelated"
        }
        self._absent = [
            fmean([score for (k, target), score in self._as_target.items() if target == t and k in other])
            for t in self._targets
        ]

    def scale(self, member: int) -> Scale:
        """Return the scale of a member; that of a word without pictures of others is completed by the targets'."""
        about = self.panel[member]
        absent = [self._absent[about.target]] if about.target >= 0 else self._absent
        return Scale.of(self._scores_of(self._own, member), absent)

    def _scores_of(self, own: Sequence[float], member: int) -> list[float]:
        judged = [shot for shot in self.shots if shot.member >= 0]
        return [score for shot, score in zip(judged, own, strict=True) if shot.member == member]

    # --- after

    def after(self, step: int | None = None) -> Generator[float, None, Verdict]:
        """Draw and judge with the LoRA that is on the model; return the verdict. Yields the share that is done."""
        if self._latents is None:
            raise ValueError("before() comes first")
        shots = [shot for shot in self.shots if shot.member >= 0]
        drawing = self._draw(shots, purpose="verdict")
        latents = yield from relayed(drawing, lambda share: _DRAWN_AFTER * share)
        with self._model.rows.purpose("verdict"):
            own = self._judged(latents, shots)
        yield 1.0
        return Verdict(tuple(self._finding(i, own, latents) for i in range(len(self.panel))), step)

    def _finding(self, member: int, own: Sequence[float], latents: Tensor) -> Finding:
        about, scale = self.panel[member], self.scale(member)
        at = [k for k, shot in enumerate(self.shots) if shot.member == member]
        before, after = self._scores_of(self._own, member), self._scores_of(own, member)
        assert self._latents is not None
        target = self._targets[about.target] if about.target >= 0 else -1
        as_target = 0
        if about.role == "near":
            of_target = self.scale(target)
            as_target = sum(of_target.shows(self._as_target[k, target]) for k in at)
        return Finding(
            concept=about.concept,
            role=about.role,
            target=self.panel[target].concept if target >= 0 else "",
            pictures=len(at),
            before=sum(map(scale.shows, before)),
            after=sum(map(scale.shows, after)),
            strength=fmean([scale.level(score) for score in after]),
            moved=_distance(self._latents[at], latents[at]),
            as_target=as_target,
            score_before=fmean(before),
            score_after=fmean(after),
        )

    # --- in between

    def levels_before(self, shots: Sequence[int]) -> list[float]:
        """Return the levels of some shots of members, given by index, as the frozen model drew them: about 1."""
        of_members = [k for k, shot in enumerate(self.shots) if shot.member >= 0]
        scores = dict(zip(of_members, self._own, strict=True))
        return [self.scale(self.shots[k].member).level(scores[k]) for k in shots]

    def look(self, shots: Sequence[int]) -> list[float]:
        """Draw some shots, given by index, with the LoRA as it is now; return their levels: 1 as before, 0 gone.

        Only shots of members. Counts as ``looks``.
        """
        if self._latents is None:
            raise ValueError("before() comes first")
        chosen = [self.shots[k] for k in shots]
        latents = run_to_end(self._draw(chosen, purpose="looks"))
        with self._model.rows.purpose("looks"):
            scores = self._judged(latents, chosen)
        return [self.scale(shot.member).level(score) for shot, score in zip(chosen, scores, strict=True)]

    def look_at(self, prompts: Sequence[Prompt], shot: Shot, *, other_seed: bool = False) -> list[float]:
        """Draw prompts with the LoRA as it is now; return how strongly each shows the member of ``shot``.

        All begin from the shot's noise, or with ``other_seed`` from another one. Counts as ``looks``.
        """
        conditioning = Conditioning.cat([prompt.conditioning for prompt in prompts])
        seeds = [shot.seed + _OTHER_SEED * other_seed] * len(prompts)
        with self._model.rows.purpose("looks"):
            latents = self._judge.draw_conditionings(conditioning, seeds)
            scores = self._judge.own_scores(latents, [self._query(shot, shot.member)] * len(prompts))
        return [self.scale(shot.member).level(score) for score in scores]

    # --- after and in between

    def _judged(self, latents: Tensor, shots: Sequence[Shot]) -> list[float]:
        """Return the score of every shot of a member for that member."""
        at = [k for k, shot in enumerate(shots) if shot.member >= 0]
        return self._judge.own_scores(latents[at], [Query(shots[k].prompt, shots[k].rest) for k in at])

    def _draw(self, shots: Sequence[Shot], purpose: Purpose) -> Generator[float, None, Tensor]:
        steps = self._judge.draw([shot.prompt for shot in shots], [shot.seed for shot in shots])
        return counted_steps(self._model, steps, purpose)

    # --- the state

    def tensors(self) -> dict[str, Tensor]:
        """Return what :meth:`before` found; nothing before it."""
        if self._latents is None:
            return {}
        keys = list(self._as_target)
        return {
            "latents": self._latents.half(),
            "own": torch.tensor(self._own, dtype=torch.float64),
            "asked": torch.tensor(keys, dtype=torch.int64).view(-1, 2),
            "as_target": torch.tensor([self._as_target[key] for key in keys], dtype=torch.float64),
        }

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Undo :meth:`tensors`. Raises: RunError if they belong to another panel; nothing is changed then."""
        judged = sum(shot.member >= 0 for shot in self.shots)
        fits = set(tensors) == {"latents", "own", "asked", "as_target"}
        if not fits or len(tensors["latents"]) != len(self.shots) or len(tensors["own"]) != judged:
            raise RunError("the judged pictures from before belong to another panel; draw them again")
        self._latents = tensors["latents"].float()
        self._own = tensors["own"].tolist()
        keys = [(int(k), int(target)) for k, target in tensors["asked"].tolist()]
        self._as_target = dict(zip(keys, tensors["as_target"].tolist(), strict=True))
        self._album.clear()
        self._calibrate()

    def move(self, device: torch.device | str) -> None:
        """Move what it holds besides the model."""
        self._judge.move(device)


def _picture(shot: Shot) -> Picture:
    return shot.prompt, shot.seed


def _distance(one: Tensor, other: Tensor) -> float:
    """Return the root mean square distance of latents (n, ...), in units of that of two unrelated pictures."""
    spread = (one.std() * 2**0.5).clamp_min(1e-6)
    return float((one - other).square().mean().sqrt() / spread)
