from __future__ import annotations

import re
from pathlib import Path

import pytest

from erasure.jobs.estimate import Estimate
from erasure.jobs.job import ACTIONS, JobState
from erasure.ui.cards import estimate_html, plan_html, result_html
from erasure.ui.chart import chart_html
from erasure.ui.chips import chips_html
from erasure.ui.html import join, notes_html, problems_html
from erasure.ui.picks import picks_html
from erasure.ui.runs import runs_html
from erasure.ui.status import progress_html, status_html
from erasure.ui.units import ago, duration, size, speed
from tests.drawn import STATES, Page, a_plan, a_result, a_snapshot, a_space, everything, pictures_of

# --- cards


def test_estimate_says_time_memory_and_basis() -> None:
    text = Page(estimate_html(Estimate(200.0, 1_900_000_000, "as measured in your last run"))).text
    assert "3 min 20 s" in text
    assert "1.9 GB" in text
    assert "as measured in your last run" in text


def test_every_reason_why_it_cannot_start_is_listed() -> None:
    page = Page(estimate_html(Estimate(200.0, 1, ""), ["SDXL is loaded", "no concept", "no concept"]))
    assert page.all(role="alert")
    assert len(page.all("li")) == 2
    assert "3 min" not in page.text


def test_estimate_of_nothing_known_promises_nothing() -> None:
    assert "Ready to start" in estimate_html(Estimate(None, None, "not known before the first run"))
    assert "Ready to start" in estimate_html(None)


def test_plan_is_put_into_words() -> None:
    text = Page(plan_html(a_plan(a_space()))).text
    for part in ("church → nothing", "cathedral, basilica", "100 concepts", "32 layers, rank 8", "400 updates of 19.4"):
        assert part in text
    assert plan_html(None) == ""


def test_result_shows_name_size_place_and_prompt() -> None:
    page = Page(result_html(a_snapshot("done", result=a_result())))
    for part in ("erase-church.safetensors", "1.61 MB", "<lora:erase-church:1>", "Self-check passed", "13%"):
        assert part in page.text
    assert page.actions() == [("copy", "<lora:erase-church:1>")]


@pytest.mark.parametrize("path", ["/home/someone/Lora/x.safetensors", "C:\\Users\\someone\\x.safetensors"])
def test_result_does_not_tell_where_things_lie(path: str) -> None:
    html = result_html(a_snapshot("done", result=a_result(path=path)))
    assert "someone" not in html
    assert "x.safetensors" in html


def test_result_of_a_stopped_run_claims_no_self_check() -> None:
    text = Page(result_html(a_snapshot("stopped", result=a_result(change=None)))).text
    assert "passed" not in text
    assert "stopped before the end" in text


# --- runs


@pytest.mark.parametrize("state", STATES)
def test_runs_offer_what_the_state_allows(state: JobState) -> None:
    actions = [action for action, _ in Page(runs_html([a_snapshot(state)])).actions()]
    assert actions == ["select", *ACTIONS[state], "settings"]


def test_what_loses_something_asks_first() -> None:
    for state in STATES:
        for button in Page(runs_html([a_snapshot(state)])).all("button"):
            assert ("data-ae-confirm" in button) == (button["data-ae-action"] in ("discard", "delete"))


def test_runs_show_problem_picture_and_selection() -> None:
    runs = [a_snapshot("failed", problem="out of memory"), a_snapshot(id="run-2")]
    page = Page(runs_html(runs, "run-2", {"run-1": "/preview/100.png"}, now=1_000_300.0))
    assert "out of memory" in page.text
    assert "5 min ago" in page.text
    assert [image["src"] for image in page.all("img")] == ["/preview/100.png"]
    assert [b["data-ae-value"] for b in page.all("button", aria_pressed="true")] == ["run-2"]


@pytest.mark.parametrize(
    "html",
    [status_html(None), picks_html(None), chips_html(None), result_html(None), runs_html([]), chart_html({})],
)
def test_empty_places_say_what_will_be_there(html: str) -> None:
    assert Page(html).text.endswith(".")
    assert "ae-empty" in html


def test_no_problems_and_no_notes_take_no_room() -> None:
    assert problems_html([]) == notes_html(["", " "]) == ""


# --- words for numbers


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3, "0 s"), (59.4, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (1500, "25 min"), (3590, "1 h 00 min"),
     (7500, "2 h 05 min"), (200_000, "2 d 8 h")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 kB"), (1_612_345, "1.61 MB"), (999_950, "1 MB"), (5.1e9, "5.1 GB")],
)
def test_sizes(count: float, words: str) -> None:
    assert size(count) == words


def test_speeds() -> None:
    assert speed(10, 5) == "2 updates/s"
    assert speed(10, 25) == "2.5 s per update"
    assert speed(0, 5) == speed(5, 0) == ""


def test_ages() -> None:
    assert ago(1000, 1030) == "just now"
    assert ago(1000, 1000 + 3 * 60) == "3 min ago"
    assert ago(0, 400 * 86400).endswith("1970")


# --- the style sheet


def test_style_has_no_class_that_nothing_uses(tmp_path: Path) -> None:
    style = (Path(__file__).parents[1] / "style.css").read_text(encoding="utf-8")
    styled = set(re.findall(r"\.(ae-[a-z-]+)", style))
    html = join(everything("plain").values()) + chart_html(a_snapshot().series)
    html += join(status_html(a_snapshot(s)) + progress_html(a_snapshot(s)) for s in STATES)
    html += chips_html(a_space()) + runs_html([a_snapshot()]) + pictures_of("plain", tmp_path)
    drawn = {name for value in re.findall(r'class="([^"]*)"', html) for name in value.split()}
    assert all(name == "ae" or name.startswith("ae-") for name in drawn)
    root = Path(__file__).parents[1]
    sources = [*(root / "erasure" / "ui").glob("*.py"), *(root / "javascript").glob("*.js")]
    named = set(re.findall(r"ae-[a-z-]+", "".join(path.read_text(encoding="utf-8") for path in sources)))
    assert styled <= drawn | named


def test_rendering_needs_no_torch_and_no_gradio() -> None:
    import subprocess
    import sys

    names = "html units status chart picks chips cards runs"
    code = f"import sys; [__import__('erasure.ui.' + n) for n in {names!r}.split()]; "
    code += "print(sorted({'torch', 'gradio'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
