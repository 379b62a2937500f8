"""Whether whoever can open the page may upload to the Hugging Face Hub with the login of the machine that serves it.

Imports nothing heavy: a command line is read with it.
"""

from __future__ import annotations

FLAG = "--adversarial-erase-upload"
OPTION = FLAG.removeprefix("--").replace("-", "_")  # as an attribute of the command line that was read
FLAG_HELP = (
    "let the page and the HTTP API upload shared LoRAs to the Hugging Face Hub: whoever can open the page then "
    "publishes with this machine's login"
)
OFF = (
    "Uploading is off here. On the command line, python -m erasure share FILE --to FOLDER --license ID --upload "
    f"OWNER/NAME does it; whoever runs this program can switch it on for this page with {FLAG}."
)
