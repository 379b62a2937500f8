"""``python -m erasure app`` with runs that draw their pictures in five steps, since tests wait for many of them."""

from __future__ import annotations

import sys

from erasure.cli import main
from erasure.model.draw_settings import DrawSettings
from erasure.run import tuned_model

if __name__ == "__main__":
    vars(tuned_model)["DRAW_SETTINGS"] = DrawSettings(steps=5)
    sys.exit(main(["app", *sys.argv[1:]]))
