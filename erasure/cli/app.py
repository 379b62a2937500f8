"""``python -m erasure app``: the tab in a browser, without a web UI."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from pathlib import Path

from erasure.cli.flags import DEVICE_HELP, Commands, add_command, add_opening_flags, opening_of
from erasure.cli.numbers import whole
from erasure.errors import ConfigError, RunError
from erasure.families.known import supported
from erasure.host import uploads
from erasure.host.always_on import FLAG, FLAG_HELP, Rule, read_each

DEFAULT_DATA = Path.home() / "adversarial-erase"


def add_parser(commands: Commands) -> None:
    parser = add_command(commands, "app", "serve the page and the HTTP API, without a web UI")
    add = parser.add_argument
    add(
        "--checkpoint",
        type=Path,
        metavar="FILE|DIR",
        help=f"{supported()} checkpoint, or a folder of them (default: emoji-SD, which ships with the project)",
    )
    add(
        "--data",
        type=Path,
        default=DEFAULT_DATA,
        metavar="DIR",
        help=f"folder for LoRAs, runs and presets (default: {DEFAULT_DATA})",
    )
    add_opening_flags(parser)
    add("--device", metavar="NAME", help=DEVICE_HELP)
    add(
        "--port", type=whole(0, 65535), metavar="N", help="port to listen on (default: the first free one from 7860 on)"
    )
    add("--listen", action="store_true", help="let other machines on the network connect")
    add(
        "--auth", action="append", default=[], metavar="USER:PASSWORD", help="require a login; repeat for several users"
    )
    add(FLAG, action="append", default=[], metavar="NAME[:WEIGHT]", help=FLAG_HELP)
    add("--upload", uploads.FLAG, action="store_true", help=uploads.FLAG_HELP)
    add("--open", action="store_true", help="open the page in a browser")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; a running job saves its state before the end."""
    accounts = _accounts(arguments.auth)
    always = _always(arguments.adversarial_erase_always)
    if arguments.checkpoint is not None and not arguments.checkpoint.exists():
        raise ConfigError([f"--checkpoint: {arguments.checkpoint} does not exist"])
    # Before gradio is imported, because it would report every start to its makers.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        from erasure.ui.app import serve
    except ModuleNotFoundError as error:
        raise RunError(
            f"the app needs {error.name}, which is not installed; run: pip install 'adversarial-erase[app]'"
        ) from error
    from erasure.host.kept_on import refuse_broken
    from erasure.host.local import LocalHost
    from erasure.jobs.manager import JobManager

    host = LocalHost(
        arguments.checkpoint, arguments.data, arguments.device, opening_of(arguments), always, uploads=arguments.upload
    )
    refuse_broken(host, always)
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
    for rule in always:
        print(f"Always on: {rule}")
    if arguments.upload:
        print("Whoever can open the page can upload with this machine's login for the Hugging Face Hub.")
    if arguments.listen and not accounts:
        print("Anyone who can reach this machine can use it; add --auth USER:PASSWORD to require a login.")
    print("Press Ctrl-C to end it.", flush=True)
    _wait()
    print("ending; a running job saves its state first ...", flush=True)
    server.close()
    _leave()
    return 0


def _leave() -> None:
    """End at once if a thread is still working: nothing can stop it inside torch, and Python would crash at exit."""
    if any(thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def _accounts(given: list[str]) -> dict[str, str]:
    pairs = [text.partition(":") for text in given]
    if any(not (user and password) for user, _, password in pairs):
        raise ConfigError(["--auth: must be USER:PASSWORD, with a colon between"])
    return {user: password for user, _, password in pairs}


def _always(given: list[str]) -> tuple[Rule, ...]:
    listed = read_each(given)
    if listed.problems:
        raise ConfigError([f"{FLAG}: {problem}" for problem in listed.problems])
    return listed.rules


def _wait() -> None:
    """Wait for Ctrl-C or SIGTERM; a second one ends the program at once."""
    asked = threading.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: asked.set()) for number in numbers}
    try:
        while not asked.wait(1.0):
            pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
