"""``python -m erasure app``: the tab in a browser, without a web UI."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from erasure.errors import ConfigError, RunError
from erasure.families.known import supported

DEFAULT_DATA = Path.home() / "adversarial-erase"


def add_parser(commands: Any) -> None:
    parser = commands.add_parser("app", help="serve the page and the HTTP API, without a web UI")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FILE|DIR",
        help=f"{supported()} checkpoint, or a folder of them; default: emoji-SD, which ships with the project",
    )
    parser.add_argument(
        "--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help=f"for LoRAs, runs and presets ({DEFAULT_DATA})"
    )
    parser.add_argument("--device", metavar="NAME", help="cuda, mps or cpu; default: the best there is")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--listen", action="store_true", help="let other machines of the network in, too")
    parser.add_argument(
        "--auth", action="append", default=[], metavar="USER:PASSWORD", help="demand a login; repeat for several"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; a job that is on saves its state before the end."""
    accounts = _accounts(arguments.auth)
    if arguments.checkpoint is not None and not arguments.checkpoint.exists():
        raise ConfigError([f"--checkpoint: there is no {arguments.checkpoint}"])
    # Before gradio is imported: it would tell its makers of every start.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        from erasure.ui.app import serve
    except ModuleNotFoundError as error:
        raise RunError(
            f"the app needs {error.name}, which is not installed: pip install 'adversarial-erase[app]'"
        ) from error
    from erasure.host.local import LocalHost
    from erasure.jobs.manager import JobManager

    host = LocalHost(arguments.checkpoint, arguments.data, arguments.device)
    manager = JobManager(host)
    server = serve(
        host,
        manager,
        port=arguments.port,
        listen=arguments.listen,
        accounts=accounts,
        browser=arguments.open,
    )
    print(f"Adversarial Erase: {server.url}  (API: {server.url.rstrip('/')}/adversarial-erase/v1/)")
    print(f"LoRAs, runs and presets: {arguments.data}")
    if arguments.listen and not accounts:
        print("Everybody who can reach this machine can use it; --auth USER:PASSWORD demands a login.")
    print("Ctrl-C ends it.", flush=True)
    _wait()
    print("ending; a job that is on saves its state ...", flush=True)
    server.close()
    _leave()
    return 0


def _leave() -> None:
    """End at once where a thread is still at work: inside torch nothing can stop it, and Python would abort over it."""
    if any(thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _accounts(given: list[str]) -> dict[str, str]:
    pairs = [text.partition(":") for text in given]
    if any(not (user and password) for user, _, password in pairs):
        raise ConfigError(["--auth: USER:PASSWORD is needed, with a colon between"])
    return {user: password for user, _, password in pairs}


def _wait() -> None:
    """Until Ctrl-C or SIGTERM; a second one ends the program at once."""
    asked = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in numbers}
    try:
        while not asked.wait(1.0):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
