from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markupsafe import Markup

from erasure.ui.chart import chart_html
from erasure.ui.chips import SHOWN, chips_html
from erasure.ui.curves import smooth
from erasure.ui.html import box, button, element, facts, join, more, picture, quiet
from erasure.ui.page import Page as Asking
from erasure.ui.page import answer, block
from erasure.ui.picks import picks_html
from erasure.ui.runs import runs_html
from erasure.ui.status import progress_html, status_html
from erasure.verdict.verdict import Verdict
from tests.drawn import HOSTILE, STATES, Page, a_row, a_snapshot, a_space, everything, pictures_of
from tests.verdicts import a_verdict

# --- text of strangers


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_text_stays_text(word: str) -> None:
    plain = {name: [tag for tag, _ in Page(html).elements] for name, html in everything("plain").items()}
    for name, html in everything(word).items():
        page = Page(html)
        assert [tag for tag, _ in page.elements] == plain[name], name
        assert not [key for _, a in page.elements for key in a if key.startswith("on")], name
        if name not in ("progress", "progress of a stage", "picture"):
            assert re.sub(r"\s+", " ", word) in page.text, name


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_concepts_stay_text_beside_pictures(word: str, tmp_path: Path) -> None:
    page, plain = Page(pictures_of(word, tmp_path)), Page(pictures_of("plain", tmp_path))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert not [key for _, a in page.elements for key in a if key.startswith("on")]
    assert re.sub(r"\s+", " ", word) in page.text


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_text_comes_back_whole_as_a_buttons_value(word: str) -> None:
    space = a_space(preserved=[a_row(word)])
    assert ("chip-erase", word) in Page(chips_html(space)).actions()
    assert ("select", word) in Page(runs_html([a_snapshot(id=word)])).actions()


@pytest.mark.parametrize("word", HOSTILE)
def test_text_that_is_not_html_is_escaped_wherever_it_is_put(word: str) -> None:
    made = {
        "element": element("p", word, title=word),
        "join": join([word, Markup("<b>x</b>")]),
        "box": box("plan", word, role=word),
        "button": button(word, word, word, title=word, confirm=word),
        "more": more(word, word, keep=word),
        "facts": facts([(word, word)]),
        "quiet": quiet(word),
        "block": block("chart", word, job=word),
        "answer": answer(Asking(), word, seen=word),
    }
    known = {"p", "b", "div", "button", "details", "summary", "dl", "dt", "dd", "span"}
    for name, html in made.items():
        page = Page(html)
        assert {tag for tag, _ in page.elements} <= known, name
        assert not [key for _, a in page.elements for key in a if key.startswith("on")], name
        assert re.sub(r"\s+", " ", word) in page.text, name


def test_an_attribute_that_is_empty_stays_and_one_that_is_none_does_not() -> None:
    assert element("p", 3, title="", id=None, data_ae_x="y") == '<p title="" data-ae-x="y">3</p>'
    assert element("img", alt="") == '<img alt="">'


def test_nothing_holds_scripts_or_handlers() -> None:
    for name, html in everything("plain").items():
        assert "<script" not in html, name
        assert "javascript:" not in html, name
        assert not re.search(r"\son\w+=", html), name


@pytest.mark.parametrize("source", ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", ""])
def test_picture_of_a_strange_source_is_left_out(source: str) -> None:
    assert picture(source, "x") == ""


# --- state and progress


def test_every_state_has_a_word_and_a_drawing_of_its_own_kind() -> None:
    pages = {state: Page(status_html(a_snapshot(state, message=""))) for state in STATES}
    assert len({page.text for page in pages.values()}) == len(STATES)
    assert all(page.all("svg", aria_hidden="true") for page in pages.values())


def test_a_run_that_left_something_is_done_but_not_green() -> None:
    for left, tone in ((0, "good"), (3, "bad")):
        html = status_html(a_snapshot("done", verdict=a_verdict(left)))
        assert f"ae-tone-{tone}" in html
        assert "Done" in Page(html).text


def test_progress_tells_assistive_technology_how_far_it_is() -> None:
    (bar,) = Page(progress_html(a_snapshot())).all(role="progressbar")
    assert (bar["aria-valuemin"], bar["aria-valuenow"], bar["aria-valuemax"]) == ("0", "120", "400")
    assert "2 min 20 s left" in bar["aria-valuetext"]


def test_progress_shows_speed_and_time_left() -> None:
    text = Page(progress_html(a_snapshot())).text
    assert "Update 120 of at most 400" in text
    assert "2 updates/s" in text
    assert "about 2 min 20 s left" in text


def test_a_run_that_ended_early_is_at_its_end() -> None:
    html = progress_html(a_snapshot("done", step=5))
    assert "width:100.00%" in html
    assert "5 updates of at most 400" in Page(html).text


def test_progress_of_a_preparing_job_claims_no_value() -> None:
    (bar,) = Page(progress_html(a_snapshot("preparing", step=0))).all(role="progressbar")
    assert "aria-valuenow" not in bar


@pytest.mark.parametrize("step", [-1, 0, 400, 900])
def test_bar_never_leaves_its_frame(step: int) -> None:
    (width,) = re.findall(r"width:([\d.]+)%", progress_html(a_snapshot(step=step)))
    assert 0 <= float(width) <= 100


# --- losses


def points(html: str) -> list[list[tuple[float, float]]]:
    lines = re.findall(r'<polyline[^>]* points="([^"]*)"', html)
    return [[tuple(map(float, pair.split(","))) for pair in line.split()] for line in lines]  # type: ignore[misc]


def losses(*rows: tuple[int, float, float]) -> dict[str, list[tuple[int, float]]]:
    """The two losses of (update, erase, preserve)."""
    return {"erase": [(n, e) for n, e, _ in rows], "preserve": [(n, p) for n, _, p in rows]}


def test_chart_draws_both_losses_on_a_log_scale() -> None:
    erase, keep = points(chart_html(losses(*((n, 10.0**-n, 10.0 ** (n - 5)) for n in range(1, 5)))))
    assert len(erase) == len(keep) == 4
    assert erase[0][1] < erase[-1][1]  # downwards
    assert keep[0][1] > keep[-1][1]
    heights = [y for _, y in erase]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], rel=0.5)


def test_chart_keeps_zero_and_broken_losses_out_of_the_drawing() -> None:
    nan, inf = float("nan"), float("inf")
    html = chart_html(losses((1, 0.5, 0.0), (2, 0.4, 0.1), (3, nan, nan), (4, 0.3, 0.2), (5, inf, inf)))
    erase, keep = points(html)
    assert (len(erase), len(keep)) == (3, 2)
    assert "nan" not in html
    assert "inf" not in html


def test_chart_draws_every_series_by_its_name() -> None:
    series = {**losses((1, 0.5, 0.1), (2, 0.4, 0.1)), "ESR-1": [(1, 0.2), (2, 0.9)]}
    page, html = Page(chart_html(series)), chart_html(series)
    assert len(points(html)) == 3
    assert "ESR-1" in page.texts
    assert html.count("ae-curve-other") == 2  # of the line and of its key
    assert "ESR-1 went from 0.2 to 0.9" in page.all("div", role="img")[0]["aria-label"]
    assert "0.9" in page.texts
    assert len(points(chart_html({"only": [(1, 1.0), (2, 2.0)]}))) == 1


def test_chart_of_series_with_gaps_leaves_their_cells_empty() -> None:
    page = Page(chart_html({"erase": [(1, 0.5), (2, 0.4), (3, 0.3)], "ESR-1": [(2, 0.9)]}))
    assert [row for row in page.texts if row in ("1", "2", "3")][-3:] == ["1", "2", "3"]
    assert page.texts.count("0.9") == 1


def test_chart_stays_in_its_frame_over_many_decades() -> None:
    for line in points(chart_html(losses(*((n, 10.0 ** (-3 * n), 1e-30) for n in range(1, 9))), 20)):
        assert all(0 <= x <= 1000 and 0 <= y <= 1000 for x, y in line)


def test_chart_of_a_constant_loss_is_drawn() -> None:
    erase, _ = points(chart_html(losses(*((n, 0.5, 0.5) for n in range(1, 5)))))
    assert {y for _, y in erase} == {500.0}


def test_chart_says_the_same_in_words_and_in_a_table() -> None:
    page = Page(chart_html(a_snapshot().series, 400))
    (plot,) = page.all("div", role="img")
    assert "from 0.5 to 0.00417" in plot["aria-label"]
    assert len(page.all("th", scope="row")) == 12
    assert {"Update", "Erasing", "Preserving", "120", "0.00417", "0.12"} <= set(page.texts)


def test_chart_without_points_is_an_empty_place() -> None:
    assert "will be drawn here" in Page(chart_html({})).text
    assert "will be drawn here" in Page(chart_html(losses((1, 0.5, 0.0)))).text


# --- looks


LOOKS = {
    "recognised church": [(20, 1.0), (40, 0.5), (60, 0.0)],
    "recognised truck": [(20, 0.25), (40, 0.25), (60, 0.25)],
    "kept": [(20, 1.0), (40, 0.75)],
}


def test_looks_are_drawn_as_shares_and_the_losses_are_folded_away() -> None:
    html = chart_html({**a_snapshot().series, **LOOKS})
    church, truck, kept, *losses_drawn = points(html)
    assert len(losses_drawn) == 2
    assert (len(church), len(truck), len(kept)) == (3, 3, 2)
    assert church[1][1] == pytest.approx(500)  # half way between 0 and 1, whatever the scale of the losses
    assert church[0][1] == kept[0][1] < truck[0][1] < church[-1][1]
    shown, _, folded = html.partition("Training losses")
    assert "in how many pictures; should fall to 0%" in shown
    assert "Erasing" not in shown
    assert "does not simply fall" in folded
    assert "Erasing" in folded


def test_looks_are_said_in_words_and_in_a_table() -> None:
    page = Page(chart_html(LOOKS))
    (plot,) = page.all("div", role="img")
    assert "church recognised went from 100% to 0%" in plot["aria-label"]
    assert "Nearest words kept went from 100% to 75%" in plot["aria-label"]
    assert {"Update", "church recognised", "truck recognised", "Nearest words kept", "25%"} <= set(page.texts)


def test_curves_of_looks_differ_in_more_than_colour() -> None:
    targets = {f"recognised target {i}": [(1, 1.0), (2, 0.5)] for i in range(4)}
    html = chart_html({**targets, "kept": [(1, 1.0), (2, 0.5)]})
    kinds = dict.fromkeys(re.findall(r"ae-curve-([a-z]+)", html))
    assert len(kinds) == 5
    style = (Path(__file__).parents[1] / "style.css").read_text(encoding="utf-8")
    dashes = [
        re.search(rf"\.ae-curve-{kind} \.ae-smooth[^{{]*{{\s*stroke-dasharray: ([\d ]+)", style) for kind in kinds
    ]
    assert len({match and match[1] for match in dashes}) == 5


def test_the_chart_of_looks_begins_before_the_first_update() -> None:
    shares = {"recognised church": [(0, 1.0)], "kept": [(0, 0.95)]}
    html = chart_html(shares, 300, first_look=5)
    assert [place[0][0] for place in points(html)] == [0, 0]
    assert "The first look comes after about 5 updates." in Page(html).text
    looked = chart_html({"recognised church": [(0, 1.0), (5, 0.0)]}, first_look=5)
    assert points(looked)[0] == [pytest.approx((0, 0), abs=40), pytest.approx((1000, 1000), abs=40)]
    assert "The first look" not in Page(looked).text
    assert "church recognised went from 100% to 0%" in looked


def test_a_single_look_is_drawn_already() -> None:
    html = chart_html({"recognised church": [(20, 0.75)]}, 100)
    ((place,),) = points(html)
    assert place == pytest.approx((20 / 100 * 1000, (1 - 0.75) * 1000), abs=30)
    assert "h0" in html
    assert "After update 20: church recognised: 75%." in Page(html).text


def test_dots_of_looks_are_wider_than_the_line_since_one_may_be_all_that_there_is() -> None:
    style = (Path(__file__).parents[1] / "style.css").read_text(encoding="utf-8")
    looks, losses = chart_html(LOOKS), chart_html(a_snapshot().series)
    assert "ae-seen" in looks
    assert "ae-seen" not in losses
    dot, line = (re.search(rf"\.ae-{kind} {{\s*stroke-width: (\d+)", style) for kind in ("seen", "smooth"))
    assert dot is not None
    assert line is not None
    assert int(dot[1]) >= 3 * int(line[1])


def test_before_the_first_look_the_chart_says_when_it_comes() -> None:
    page = Page(chart_html(a_snapshot().series, 400, first_look=20))
    assert "The first look comes after about 20 updates." in page.text
    assert "Training losses" in page.text
    assert "Training losses" not in Page(chart_html(a_snapshot().series, 400)).text


def test_smoothing_follows_a_line_and_calms_noise() -> None:
    steady = [(n, 10.0**-n) for n in range(9)]
    assert smooth(steady)[4][1] == pytest.approx(1e-4)
    noisy = smooth([(n, 1.0 if n % 2 else 0.01) for n in range(40)])
    assert all(0.05 < loss < 0.2 for _, loss in noisy[5:-5])


# --- picks


def test_picks_show_shares_and_mark_the_current_one() -> None:
    page = Page(picks_html(a_snapshot()))
    assert "50%" in page.text
    (current,) = page.all("li", aria_current="true")
    assert "ae-pick-now" in current["class"]
    assert page.text.count("now") == 1


def test_current_pick_is_in_view_even_if_it_is_rare() -> None:
    picks = tuple((f"word {i}", 100 - i) for i in range(40))
    html = picks_html(a_snapshot(picks=picks, current_pick="word 35"))
    assert html.index("word 35") < html.index("<details")
    assert "and 29 more" in html


# --- chips


def test_nearest_chips_are_shown_and_the_rest_folded_away() -> None:
    html = chips_html(a_space())
    assert f"and {100 - SHOWN} more" in html
    # As text: MarkupSafe 2 escapes what it is to look for.
    before, _, after = str(html).partition("<details")
    assert f">word {SHOWN - 1}<" in before
    assert f">word {SHOWN}<" in after


def test_measured_synonyms_are_set_apart_and_can_be_protected() -> None:
    page = Page(chips_html(a_space(3)))
    assert ("chip-protect", "cathedral") in page.actions()
    assert ("chip-erase", "word 0") in page.actions()
    assert page.text.index("Will go too") < page.text.index("cathedral") < page.text.index("Protected")


def test_what_the_user_moved_is_on_its_new_side_only() -> None:
    actions = Page(chips_html(a_space(3), synonym=["word 1", "kirk"], preserve=["cathedral", "dog"])).actions()
    assert sorted(actions) == [
        ("chip-auto", "cathedral"),
        ("chip-auto", "dog"),
        ("chip-auto", "kirk"),
        ("chip-auto", "word 1"),
        ("chip-erase", "word 0"),
        ("chip-erase", "word 2"),
        ("chip-protect", "basilica"),
    ]


def test_each_chip_says_what_a_click_does() -> None:
    for chip in Page(chips_html(a_space(3), ["kirk"], ["dog"])).all("button"):
        assert "click to" in chip["title"]
        assert chip["aria-label"].startswith(chip["data-ae-value"])


def test_words_that_are_drawn_as_the_target_look_otherwise_and_a_legend_says_what_it_means() -> None:
    rows = [a_row("worship", difference=0.85, drawn_as_target=True), a_row("tower", difference=2.0)]
    page = Page(chips_html(a_space(preserved=rows)))
    (worship,) = page.all("button", **{"class": "ae-chip ae-chip-as-target"})
    assert worship["data-ae-value"] == "worship"
    assert worship["title"] == "drawn as church, so both cannot be had; click to erase it too"
    assert ("chip-erase", "worship") in page.actions()
    assert "drawn as church both cannot be had" in page.text
    assert "holds the erasure back" in page.text


def test_without_a_word_that_is_drawn_as_the_target_there_is_no_legend() -> None:
    assert "ae-legend" not in chips_html(a_space(3))
    rows = [a_row("worship", drawn_as_target=True)]
    moved = Page(chips_html(a_space(preserved=rows), synonym=["worship"]))
    assert ("chip-auto", "worship") in moved.actions()
    assert "holds the erasure back" not in moved.text


def test_what_a_run_found_of_a_word_takes_the_place_of_what_was_measured_before() -> None:
    rows = [a_row("castle", drawn_as_target=True), a_row("dome", drawn_as_target=True)]
    page = Page(chips_html(a_space(preserved=rows), verdict=a_verdict()))
    assert [chip["data-ae-value"] for chip in page.all("button", **{"class": "ae-chip ae-chip-as-target"})] == ["dome"]
    (castle,) = page.all("button", data_ae_value="castle")
    assert castle["title"].startswith("kept: ")


def test_synonyms_that_stay_are_not_announced_as_going() -> None:
    text = Page(chips_html(a_space(3), erase_synonyms=False)).text
    assert "Will go too" not in text
    assert "Neither erased nor protected" in text


def _judged_chips(**changes: Any) -> Markup:
    """Chips of castle, tower and chapel, of which the last one goes along, after a run."""
    words = [a_row(word) for word in ("castle", "tower", "chapel", "dome")]
    return chips_html(a_space(preserved=words, synonyms=[a_row("basilica")]), verdict=a_verdict(), **changes)


def test_after_a_run_each_judged_word_says_what_became_of_it() -> None:
    page = Page(_judged_chips())
    titles = {chip["data-ae-value"]: chip["title"] for chip in page.all("button", **{"class": "ae-chip"})}
    assert titles["castle"] == "kept: recognised in 2 of 2 pictures, before in 2; click to erase it too"
    assert titles["tower"].startswith("hurt: recognised in 0 of 2 pictures")
    assert titles["basilica"].startswith("gone: recognised in 0 of 3 pictures")
    assert titles["dome"] == "click to erase it too"
    assert "1 of 2 that were judged were kept" in page.text
    assert "castle kept tower hurt dome 0.80" in page.text
    assert "kept" not in Page(chips_html(a_space(3))).text


def test_a_word_that_goes_along_can_be_erased_too_or_kept() -> None:
    page = Page(_judged_chips())
    assert [action for action in page.actions() if action[1] == "chapel"] == [
        ("chip-erase", "chapel"),
        ("chip-protect", "chapel"),
    ]
    (keep,) = page.all("button", data_ae_action="chip-protect", data_ae_value="chapel")
    assert "holds the erasure back" in keep["title"]
    assert "both cannot be had" in page.text


@pytest.mark.parametrize("lists", [{"synonym": ["chapel"]}, {"preserve": ["chapel"]}])
def test_a_word_that_goes_along_is_no_choice_once_it_was_made(lists: dict[str, list[str]]) -> None:
    page = Page(_judged_chips(**lists))
    assert [action for action in page.actions() if action[1] == "chapel"] == [("chip-auto", "chapel")]
    assert "Goes along" not in page.text


def test_a_word_that_the_model_does_not_draw_is_not_judged() -> None:
    unknown = replace(a_verdict().findings[3], before=0)
    html = chips_html(a_space(preserved=[a_row("tower", difference=1.0)]), verdict=Verdict((unknown,)))
    assert "hurt" not in html
    assert "1.00" in html


def test_chips_of_old_settings_say_so() -> None:
    assert "have changed" in chips_html(a_space(3), stale=True)
    assert "have changed" not in chips_html(a_space(3))
