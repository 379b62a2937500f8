"""Folders. ``--data-dir`` moves ``data_path`` away from the program's own folder."""

from __future__ import annotations

import os

script_path = os.environ["FAKE_WEBUI_ROOT"]
data_path = os.environ.get("FAKE_WEBUI_DATA", script_path)
models_path = os.path.join(data_path, "models")  # noqa: PTH118
extensions_dir = os.path.join(data_path, "extensions")  # noqa: PTH118
