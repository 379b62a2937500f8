"""``python -m erasure app`` with runs that draw and judge few pictures: tests wait for many of them."""

from __future__ import annotations

import sys

from erasure.cli import main
from erasure.judge import album
from erasure.judge.judge_settings import JudgeSettings
from erasure.model.draw_settings import DrawSettings
from erasure.run import tuned_model
from erasure.training import text_start
from erasure.verdict import examine
from erasure.verdict.panel import PanelSizes
from tests.brief_text_start import SIZES

if __name__ == "__main__":
    vars(tuned_model)["DRAW_SETTINGS"] = DrawSettings(steps=5)
    vars(examine)["PANEL_SIZES"] = PanelSizes(2, 1, 1, 4, 1, 2, 1, 1)
    vars(text_start).update(SIZES)
    vars(album)["JUDGE_SETTINGS"] = JudgeSettings(timesteps=(0.5,), drawing=DrawSettings(steps=4))
    sys.exit(main(["app", *sys.argv[1:]]))
