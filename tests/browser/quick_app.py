"""``python -m erasure app`` with runs that draw and judge few pictures: tests wait for many of them."""

from __future__ import annotations

import sys
from functools import partial

from erasure.cli import main
from erasure.combine import pictures
from erasure.judge import album
from erasure.judge.judge_settings import JudgeSettings
from erasure.model.draw_settings import DrawSettings
from erasure.model.drawing import drawing_steps
from erasure.run import tuned_model
from erasure.training import start_strength, text_start
from erasure.training.text_start import TextStart
from erasure.verdict import examine
from erasure.verdict.panel import PanelSizes
from tests.brief_text_start import SIZES

if __name__ == "__main__":
    few_steps = DrawSettings(steps=3)
    vars(tuned_model)["DRAW_SETTINGS"] = few_steps
    vars(pictures)["drawing_steps"] = partial(drawing_steps, drawing=few_steps)
    vars(examine)["PANEL_SIZES"] = PanelSizes(2, 1, 1, 4, 1, 2, 1, 1)
    vars(text_start).update(SIZES)
    vars(start_strength)["ROUNDS"] = 1
    TextStart.limits = TextStart.limits._replace(strengths=TextStart.limits.strengths[:1])
    vars(album)["JUDGE_SETTINGS"] = JudgeSettings(timesteps=(0.5,), drawing=few_steps)
    sys.exit(main(["app", *sys.argv[1:]]))
