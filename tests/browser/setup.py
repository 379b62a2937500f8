"""What the browser and the app are started with; nothing here needs playwright."""

from __future__ import annotations

# Chromium runs as root in CI; without the others it asks hosts on the network at every start.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
# Few words, so that a training begins at once.
VOCABULARY = ("chapel", "tower", "house", "castle", "bell", "bus", "truck", "dog", "cat", "tree", "apple", "radio")
