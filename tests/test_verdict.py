from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from erasure.config.values import config_from_dict
from erasure.errors import RunError
from erasure.judge.album import Album
from erasure.judge.judge import Judge
from erasure.judge.judge_settings import JudgeSettings
from erasure.lora.adapter import inject_lora, lora_parameters
from erasure.model.draw_settings import DrawSettings
from erasure.model.drawing import run_to_end
from erasure.model.model import Model
from erasure.verdict.examination import Examination
from erasure.verdict.panel import PanelSizes, make_panel, panel_shots
from erasure.verdict.verdict import Finding, Verdict, lines
from tests.spaces import WORDS, space_of

FOUND = Finding("church", "target", "church", pictures=8, before=8, after=0, strength=0.0, moved=0.9)
NEAR = replace(FOUND, concept="abbey", role="near", pictures=2, before=2, after=2, strength=1.0)
SIZES = PanelSizes(target_pictures=2, near=3, near_pictures=1, unrelated=2, unrelated_pictures=1, empty_pictures=1)
SMALL = JudgeSettings(timesteps=(0.5,), drawing=DrawSettings(steps=2, guidance=2.0, batch=4))


def test_all_is_gone_only_when_no_picture_shows_a_target_or_a_name() -> None:
    name = replace(FOUND, concept="chapel", role="name", pictures=3, before=3, after=1)
    assert Verdict((FOUND, NEAR)).gone
    assert not Verdict((FOUND, name, NEAR)).gone
    assert Verdict((FOUND, name, NEAR)).left == (name,)


def test_a_target_that_the_model_does_not_draw_is_never_gone() -> None:
    unknown = replace(FOUND, before=0)
    assert not Verdict((unknown,)).gone
    assert "nothing can be said" in lines(Verdict((unknown,)))[0]


def test_a_word_is_kept_if_half_of_its_pictures_still_show_it() -> None:
    hurt, half = replace(NEAR, concept="worship", after=0, strength=0.1), replace(NEAR, concept="priest", after=1)
    verdict = Verdict((FOUND, NEAR, half, hurt))
    assert verdict.hurt == (hurt,)
    assert verdict.worst[0] == hurt
    assert verdict.kept_share == pytest.approx(2 / 3)
    unknown = replace(NEAR, concept="void", before=0, after=0)
    assert Verdict((FOUND, NEAR, unknown)).kept_share == 1


def test_the_words_say_what_is_gone_kept_and_hurt_most() -> None:
    name = replace(FOUND, concept="chapel", role="name", pictures=3, before=3)
    hurt = replace(NEAR, concept="worship", after=0, strength=0.1, as_target=2)
    far = replace(NEAR, concept="day", role="unrelated", target="")
    assert lines(Verdict((FOUND, name, NEAR, hurt, far))) == [
        "church: recognised in 0 of 8 pictures (8 of 8 before).",
        "Its other names: 0 of 3.",
        "Kept: 1 of the 2 nearest words; hurt most: worship (0 of 2).",
        "Unrelated: 2 of 2.",
        "Drawn as the target before, so that both cannot be had: worship.",
    ]


def test_a_verdict_survives_json() -> None:
    verdict = Verdict((FOUND, NEAR), step=60)
    assert Verdict.from_dict(json.loads(json.dumps(verdict.to_dict()))) == verdict


@pytest.mark.parametrize("change", [{"role": "<b>"}, {"before": "many"}, {"strength": None}])
def test_a_verdict_that_makes_no_sense_is_refused(change: dict[str, object]) -> None:
    values = Verdict((FOUND,), step=1).to_dict()
    values["findings"][0].update(change)
    with pytest.raises((KeyError, TypeError, ValueError)):
        Verdict.from_dict(values)


def test_every_word_is_on_the_panel_once_and_erased_ones_are_not_near() -> None:
    space = space_of("church", "truck")
    panel = make_panel(space, [["church", "chapel"], ["truck"]], ["day", "bus", "churches", "fork"], ["bell"], SIZES)
    concepts = [member.concept for member in panel]
    assert len(concepts) == len(set(concepts))
    roles = {member.concept: member.role for member in panel}
    assert (roles["church"], roles["truck"], roles["chapel"], roles["bell"]) == ("target", "target", "name", "near")
    assert {word for word, role in roles.items() if role == "unrelated"} == {"day", "fork"}


def test_templates_take_turns_and_say_what_is_left_without_the_concept() -> None:
    panel = make_panel(space_of("pixel style"), [["pixel style"]], [], (), replace(SIZES, near=0))
    shots = panel_shots(panel, ["a house[ in {}]", "{}"], SIZES)
    assert [(shot.prompt, shot.rest) for shot in shots] == [
        ("a house in pixel style", "a house"),
        ("pixel style", ""),
        ("a house", "a house"),
    ]


def _examination(model: Model, *targets: str) -> Examination:
    config = config_from_dict({"erase": list(targets)})
    space = space_of(*targets, words=WORDS[1:])
    panel = make_panel(space, [[target] for target in targets], ["day", "fork"], (), SIZES)
    return Examination(model, Album(model, Judge(model, SMALL)), panel, config.templates, SIZES)


def test_pictures_before_show_on_average_what_they_are_of(tiny_model: Model) -> None:
    examination = _examination(tiny_model, "church", "truck")
    run_to_end(examination.before())
    for member, about in enumerate(examination.panel):
        shots = [k for k, shot in enumerate(examination.shots) if shot.member == member]
        levels = examination.levels_before(shots)
        assert len(levels) == about.pictures
        if examination.scale(member).tells:
            assert sum(levels) / len(levels) == pytest.approx(1.0)


def test_a_model_without_a_change_keeps_everything(tiny_model: Model) -> None:
    examination = _examination(tiny_model, "church", "truck")
    run_to_end(examination.before())
    verdict = run_to_end(examination.after())
    assert [finding.after for finding in verdict.findings] == [finding.before for finding in verdict.findings]
    assert max(finding.moved for finding in verdict.findings) < 1e-3
    assert {finding.target for finding in verdict.findings} == {"church", "truck", ""}


def test_a_change_moves_pictures_and_a_second_look_before_costs_nothing(tiny_model: Model) -> None:
    examination = _examination(tiny_model, "church")
    run_to_end(examination.before())
    rows = tiny_model.rows["verdict"].total
    run_to_end(examination.before())
    assert tiny_model.rows["verdict"].total == rows > 0
    inject_lora(tiny_model.unet, "xattn", 2, 2.0, 0)
    with torch.no_grad():
        for weight in lora_parameters(tiny_model.unet):
            weight.fill_(0.5)
    verdict = run_to_end(examination.after())
    assert min(finding.moved for finding in verdict.findings) > 1e-3


def test_judged_pictures_from_disk_give_the_same_verdict(tiny_model: Model) -> None:
    first, second = _examination(tiny_model, "church"), _examination(tiny_model, "church")
    run_to_end(first.before())
    second.load(first.tensors())
    rows = tiny_model.rows["verdict"].total
    run_to_end(second.before())
    assert tiny_model.rows["verdict"].total == rows
    one, other = run_to_end(first.after()), run_to_end(second.after())
    assert [f.after for f in one.findings] == [f.after for f in other.findings]


def test_judged_pictures_of_another_panel_are_refused(tiny_model: Model) -> None:
    first, second = _examination(tiny_model, "church"), _examination(tiny_model, "church", "truck")
    run_to_end(first.before())
    with pytest.raises(RunError, match="another panel"):
        second.load(first.tensors())
