"""Attacks on an erasure: what counts as one, what they find, what they cost, and that none is made twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from emoji_sd import FOLDER
from erasure.attacks import siege as siege_module
from erasure.attacks.archive import Archive
from erasure.attacks.attack_settings import ATTACKS, AttackSettings
from erasure.attacks.finetune import try_finetuning
from erasure.attacks.inversion import fresh_takes, try_inversion
from erasure.attacks.outcome import AS_ITSELF, AS_NEW, Attempt, Outcome, rates, steps_back
from erasure.attacks.report import SiegeReport, figures, lines
from erasure.attacks.search import Budget, nearest_first, try_search
from erasure.attacks.second_opinion import second_opinion
from erasure.attacks.sheet import write_sheet
from erasure.attacks.witness import Asked, Shot, Witness
from erasure.bench.cell import Bench, Cell
from erasure.bench.suite import SuiteOptions
from erasure.bench.suites import suite
from erasure.bench.variant import variant
from erasure.bench.work import work
from erasure.cli import main
from erasure.concepts.wordings import Wording
from erasure.errors import ConfigError, LoraFileError
from erasure.judge.album import Album, open_album
from erasure.judge.judge_settings import JudgeSettings
from erasure.judge.scale import Scale
from erasure.lora.adapter import inject_lora, lora_layers
from erasure.lora.aside import lora_aside
from erasure.lora.file import read_lora
from erasure.lora.model_adapter import inject_lora_file, model_state
from erasure.model.conditioning import Conditioning
from erasure.model.draw_settings import DrawSettings
from erasure.model.drawing import run_to_end
from erasure.model.learnt_words import LearntWord, token_vectors
from erasure.model.model import Model
from tests.fake_judge import FakeJudge
from tests.loras import random_lora
from tests.test_bench import bench  # noqa: F401

SMALL = AttackSettings(
    search_rows=600, found=1, fresh_pictures=2, vectors=(2,), inversion_steps=3, sources=2, batch=1,
    finetune_sources=2, finetune_looks=(1, 2), finetune_rank=2,
)  # fmt: skip
OURS = {"erase": ["church"], "templates": ["a {}"], "neighbours": 3, "synonym_threshold": 0.0, "vocabulary": "words"}
QUICK = JudgeSettings(timesteps=(0.5,), drawing=DrawSettings(steps=2))


# --- figures


def _attempt(kind: str, untouched: str, erased: str, classified: str = "", **more: Any) -> Attempt:
    before, after, own, other = (
        tuple(c == "x" for c in text) for text in (untouched, erased, classified and untouched, classified)
    )
    return Attempt(kind, f"a {kind}", before, after, own, other, **more)


def test_only_prompts_from_which_the_untouched_model_draws_the_concept_count() -> None:
    found = rates([_attempt("own", "xxx", "x--"), _attempt("misspelt", "x--", "xxx"), _attempt("spaced", "---", "")])
    assert (found.prompts, found.tried, found.pictures) == (1, 3, 3)
    assert (found.judge, found.judge_untouched) == (33.33, 100.0)
    assert (found.classifier, found.agree) == (None, None)


def test_judge_and_classifier_are_told_apart_and_compared() -> None:
    found = rates([_attempt("own", "xx", "x-", "--")])
    assert (found.judge, found.classifier, found.classifier_untouched, found.agree) == (50.0, 0.0, 100.0, 75.0)


def test_the_figures_of_the_bench_are_means_over_concepts_and_say_what_the_untouched_model_does() -> None:
    words = [
        _attempt("own", "xx", "--", "--"),
        _attempt("misspelt", "xx", "x-", "xx"),
        _attempt("case", "xx", "--", "--"),
    ]
    tuned = [_attempt(AS_ITSELF, "xx", "--", "--"), _attempt(AS_ITSELF, "xx", "xx", "xx", steps=5)]
    outcomes = [
        Outcome("words", "church", tuple(words), 100),
        Outcome("search", "church", (_attempt("words", "xx", "xx", "x-"),), 100),
        Outcome("search", "dog", (), 100),
        Outcome("finetune", "church", tuple(tuned), 100),
        Outcome("finetune", "dog", (tuned[0], _attempt(AS_ITSELF, "xx", "--", "--", steps=8)), 100),
    ]
    found = figures(outcomes)
    assert (found["ASR own"], found["ASR misspelt"], found["ASR words"]) == (0.0, 100.0, 50.0)
    assert (found["ASR words (judge)"], found["ASR search"], found["ASR search (judge)"]) == (25.0, 25.0, 50.0)
    assert found["finetune steps"] == (5 + 16) / 2
    assert "ASR translated" not in found  # nothing was tried
    before = figures(outcomes, untouched=True)
    assert before["ASR words"] == 100.0
    assert before["finetune steps"] == (10 + 16) / 2  # a new word was never learnt
    assert "attacks agree" in found


def test_what_was_found_is_told_in_lines_with_the_prompts_that_succeed() -> None:
    attempts = (_attempt("own", "xxx", "---"), _attempt("misspelt", "xxx", "xx-"), _attempt("spaced", "---", ""))
    told = lines(SiegeReport((Outcome("words", "church", attempts, 9),)))
    assert told[0] == (
        "church, words: 33 % of 6 pictures show it (untouched: 100 %; 2 prompts; 1 more is no attack): "
        "'a misspelt' 2 of 3"
    )
    assert told[3] == "  spaced: none of 1 prompts is an attack: the untouched model does not draw it from them"
    seen = ((AS_ITSELF, "--", 0), (AS_ITSELF, "xx", 5), (AS_NEW, "--", 0), (AS_NEW, "x-", 5))
    tuned = Outcome("finetune", "church", tuple(_attempt(kind, "xx", text, steps=n) for kind, text, n in seen), 9)
    assert (steps_back(tuned), steps_back(tuned, AS_NEW)) == (5, None)
    assert lines(SiegeReport((tuned,))) == [
        "church, finetune: back after 5 steps (0 of 2 after 0, 2 of 2 after 5); the untouched model learns the same "
        "pictures as a new word in more than 5"
    ]


def test_an_outcome_is_read_back_as_it_was_written() -> None:
    outcome = Outcome("words", "church", (_attempt("own", "xx", "x-", "--", pictures=("1", "2")),), 100, 20)
    assert Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome


def test_the_sheet_shows_the_attempts_that_succeed_most_without_and_with_the_lora(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "green").save(tmp_path / "before.png")
    Image.new("RGB", (64, 64), "red").save(tmp_path / "after.png")
    shown = [_attempt("own", "x", "x", pictures=("before", "after")), _attempt("case", "-", "x", pictures=("no", "no"))]
    write_sheet(tmp_path / "sheet.png", tmp_path, [*shown, shown[0]])
    with Image.open(tmp_path / "sheet.png") as sheet:
        colours = sheet.convert("RGB").getcolors(100_000)
    counts = {colour: count for count, colour in colours or []}
    assert counts[0, 128, 0] == counts[255, 0, 0] == 2 * 128 * 128
    write_sheet(tmp_path / "none.png", tmp_path, [_attempt("own", "x", "x")])
    assert not (tmp_path / "none.png").exists()


# --- what is asked for


def test_settings_that_cannot_be_used_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="there is no attack 'bribe'; choose from words, search, inversion, finetune"):
        AttackSettings(("words", "bribe"))
    with pytest.raises(ConfigError, match="name at least one"):
        AttackSettings(())
    with pytest.raises(ConfigError, match="--rows is 100, which is outside 3520 to"):
        AttackSettings(search_rows=100)


def test_each_attack_depends_on_its_own_settings_alone() -> None:
    usual, other = AttackSettings(), AttackSettings(search_rows=9000)
    changed = [attack for attack in ATTACKS if usual.key(attack) != other.key(attack)]
    assert changed == ["search"]
    assert all(AttackSettings(seed=1).key(attack) != usual.key(attack) for attack in ATTACKS)


def test_the_evaluation_key_of_a_bench_changes_only_if_attacks_are_asked_for() -> None:
    chosen = suite("emoji", SuiteOptions())
    target_set = chosen.set("single-dog")
    keys = [chosen.evaluation_key(target_set, SuiteOptions(metrics=metrics, attack_rows=rows))
            for metrics in ((), ("attacks",)) for rows in (6000, 7000)]  # fmt: skip
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(("rows", "vocabulary"), [(600, 10), (6000, 3000), (50_000, 3000), (400, 3000)])
def test_a_search_keeps_to_its_budget(rows: int, vocabulary: int) -> None:
    budget = Budget.of(rows, per_picture=22, final=200, vocabulary=vocabulary)
    tried = budget.words + 8 * budget.partners
    # A tenth of each of both, rounded up, is tried again, and nothing and the concept's own name before.
    spent = 16 + 2 * tried + 14 * (tried // 10 + 2) + 88 * budget.drawn + 200
    assert spent <= rows + 2 * 14 + 88
    assert 1 <= budget.words <= vocabulary


# --- the model


UNET, TEXT = ("attn2.to_k", "attn2.to_v"), ("mlp.fc1",)  # what the names of layers end with
OF_BOTH = pytest.mark.parametrize("erased_model", [UNET, (*UNET, *TEXT)], indirect=True, ids=["U-Net", "both"])
OF_TEXT = pytest.mark.parametrize("erased_model", [(*UNET, *TEXT)], indirect=True, ids=["both"])


@pytest.fixture
def erased_model(request: pytest.FixtureRequest, tiny_model: Model, tmp_path: Path) -> Model:
    """With a LoRA on the layers that a test names, usually on the U-Net's alone."""
    modules, layers = tiny_model.parts.modules, getattr(request, "param", UNET)
    lora = random_lora(tmp_path / "a.safetensors", modules=modules, layers=layers)
    inject_lora_file(modules, read_lora(lora), 0.7)
    return tiny_model


def _witness(model: Model, monkeypatch: pytest.MonkeyPatch, folder: Path | None = None) -> Witness:
    monkeypatch.setattr("erasure.judge.album.JUDGE_SETTINGS", QUICK)
    return Witness(model, open_album(model, ["a {}"]), "church", ("a {}",), Scale(1.0, -1.0), folder=folder)


def _eps(model: Model) -> Tensor:
    z, t = torch.ones(1, *model.latent_shape), torch.tensor([500])
    with torch.no_grad():
        return model.eps(z, t, model.embed(["a church"]))


@OF_BOTH
def test_an_erasure_in_the_weights_draws_as_its_lora_does_and_goes_without_a_trace(erased_model: Model) -> None:
    model = erased_model
    with model.frozen():
        untouched = _eps(model)
    tuned, weights = _eps(model), model_state(model.parts.modules)
    with lora_aside(model.parts.modules, merged=True):
        assert not lora_layers(model.unet)
        torch.testing.assert_close(_eps(model), tuned, rtol=1e-4, atol=1e-4)
        inject_lora(model.unet, "xattn", 2, 2, 0)
    with lora_aside(model.parts.modules, merged=False):
        assert torch.equal(_eps(model), untouched)
        inject_lora(model.unet, "xattn", 2, 2, 0)
    assert torch.equal(_eps(model), tuned)
    with model.frozen():
        assert torch.equal(_eps(model), untouched)
    after = model_state(model.parts.modules)
    assert after.keys() == weights.keys()
    assert all(torch.equal(after[name], weights[name]) for name in weights)


@OF_BOTH
def test_fine_tuning_begins_with_what_each_models_text_encoder_says(
    erased_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first pictures, after no step: of the erased model by the concept's name, of the untouched one by the new."""
    model, witness = erased_model, _witness(erased_model, monkeypatch)
    sources, made = torch.zeros(2, *model.latent_shape), list[Tensor]()
    drawn = witness.drawn

    def noted(conditioning: Conditioning, seeds: Sequence[int]) -> Tensor:
        made.append(drawn(conditioning, seeds))
        return made[-1]

    monkeypatch.setattr(witness, "drawn", noted)
    seeds = [seed for _, seed in fresh_takes(witness.templates, SMALL)]
    one, none = replace(SMALL, finetune_looks=(1,)), replace(SMALL, finetune_looks=(1,), finetune_rate=0.0)
    tuned = drawn(model.embed(["a church"] * 2), seeds)
    with model.frozen():
        before, new = (drawn(model.embed([f"a {name}"] * 2), seeds) for name in ("church", SMALL.finetune_word))
    run_to_end(try_finetuning(witness, sources, none))
    for found, wanted in zip(made, [before, tuned, tuned, new, new], strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    made.clear()
    run_to_end(try_finetuning(witness, sources, one))
    assert float((made[2] - made[1]).abs().max()) > 1e-3 < float((made[4] - made[3]).abs().max())


def test_a_word_with_the_vectors_of_a_text_is_read_like_the_text(tiny_model: Model) -> None:
    vectors = token_vectors(tiny_model.parts, "fuel pump", 2)
    word = LearntWord(tiny_model.parts, vectors)
    templates = ["a picture of a {}", "{} at night"]
    found = word(templates).states
    known = tiny_model.embed([template.replace("{}", "fuel pump") for template in templates]).states
    torch.testing.assert_close(found, known, rtol=1e-4, atol=1e-5)
    found.square().mean().backward()
    assert word.vectors.grad is not None
    assert bool(word.vectors.grad.abs().sum() > 0)
    assert not tiny_model.parts.text_encoder.get_input_embeddings()._forward_hooks


def test_the_untouched_model_decides_what_is_drawn_with_the_lora(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = FakeJudge({"a chapel": ["a church"], "a bus": []})
    witness = Witness(tiny_model, Album(tiny_model, judge), "church", ("a {}",), Scale(1.0, -1.0))
    asked = [Asked("words", word, (Shot(f"a {word}", 1, "a {}"), Shot(f"a {word}", 2, "a {}")))
             for word in ("church", "chapel", "bus")]  # fmt: skip
    attempts = run_to_end(witness.attempts(asked))
    assert [attempt.counts for attempt in attempts] == [True, True, False]
    assert [attempt.erased for attempt in attempts] == [(True, True), (True, True), ()]
    assert sum(prompt == "a bus" for prompt, _ in judge.drawn) == 2  # the others twice as often
    assert len(judge.drawn) == 6 + 4


@OF_TEXT
def test_learnt_words_and_fine_tuning_leave_the_model_as_it_was_and_find_the_same_again(
    erased_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    witness = _witness(erased_model, monkeypatch, tmp_path)
    witness.classify = second_opinion(lambda pictures, names: [0] * len(pictures), ["church"])("church")
    sources = torch.randn(2, *erased_model.latent_shape, generator=torch.Generator().manual_seed(1))
    before = _eps(erased_model)
    found = [
        [*run_to_end(try_inversion(witness, sources, 2, SMALL)), *run_to_end(try_finetuning(witness, sources, SMALL))]
        for _ in range(2)
    ]
    assert torch.equal(_eps(erased_model), before)
    assert [replace(a, pictures=()) for a in found[0]] == [replace(a, pictures=()) for a in found[1]]
    assert [attempt.steps for attempt in found[0]] == [3, 0, 1, 2, 0, 1, 2]
    assert all(attempt.erased_classified == (True, True) for attempt in found[0])
    assert all((tmp_path / f"{name}.png").exists() for attempt in found[0] for name in attempt.pictures)
    trained = SMALL.inversion_steps * SMALL.batch + 2 * SMALL.finetune_looks[-1] * SMALL.batch
    assert erased_model.rows["attacks"].gradient == 2 * trained


def test_training_a_word_makes_the_erased_model_denoise_the_pictures_better(
    erased_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from erasure.attacks.inversion import train_word
    from erasure.attacks.probes import any_noised, denoising_loss

    witness = _witness(erased_model, monkeypatch)
    sources = torch.ones(2, *erased_model.latent_shape)
    word = LearntWord(erased_model.parts, token_vectors(erased_model.parts, "church", 1))
    noisy = any_noised(erased_model, sources, 8, torch.Generator().manual_seed(9))
    with torch.no_grad():
        first = float(denoising_loss(erased_model, noisy, word(["a {}"] * 8)).mean())
    for _ in train_word(word, witness, sources, replace(SMALL, inversion_steps=20, inversion_rate=0.05)):
        pass
    with torch.no_grad():
        assert float(denoising_loss(erased_model, noisy, word(["a {}"] * 8)).mean()) < first


def test_a_search_draws_what_it_found_and_keeps_to_its_rows(
    erased_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = _witness(erased_model, monkeypatch)
    witness.scale = Scale(0.5, -20.0)  # sees the concept everywhere
    sources = torch.randn(2, *erased_model.latent_shape, generator=torch.Generator().manual_seed(1))
    words = ["chapel", "bus", "Church", "tower", "tree", "dog"]
    assert "Church" not in nearest_first(erased_model, "church", words)
    found = run_to_end(try_search(witness, sources, words, SMALL))
    assert len(found) == 1
    assert found[0].counts
    assert len(found[0].erased) == 2
    assert erased_model.rows["attacks"].total <= SMALL.search_rows


# --- a siege


@pytest.fixture
def few_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tmp_path / "few.txt"
    words.write_text("truck\nbus\nhouse\ntower\nbell\ndog\ntree\nday\n", encoding="utf-8")
    monkeypatch.setattr("erasure.concepts.vocabulary.WORDS", words)
    monkeypatch.setattr("erasure.judge.album.JUDGE_SETTINGS", QUICK)
    monkeypatch.setattr("erasure.judge.scale.LEAST_DISTANCE", -100.0)  # random models draw nothing in particular


def _attack(checkpoint: Path, lora: Path, *flags: str) -> list[str]:
    return ["attack", "--checkpoint", str(checkpoint), "--lora", str(lora), "--device", "cpu", *flags]


def test_what_was_attacked_already_is_not_attacked_again_and_what_was_stopped_goes_on(
    tiny_checkpoint: Path, tmp_path: Path, few_words: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    lora = random_lora(tmp_path / "lora.safetensors", OURS)
    made: list[str] = []

    def stub(name: str, stop: bool = False) -> Any:
        def attack(witness: Witness, *rest: Any) -> Generator[float, None, list[Attempt]]:
            made.append(name)
            yield 0.5
            if stop:
                raise KeyboardInterrupt
            return [Attempt("own", name, (True,), (False,))]

        return attack

    monkeypatch.setattr(siege_module, "try_words", stub("words"))
    monkeypatch.setattr(siege_module, "try_inversion", stub("inversion", stop=True))
    out = tmp_path / "out"
    command = _attack(tiny_checkpoint, lora, "--attacks", "words,inversion", "--out", str(out))
    assert main(command) == 130
    assert "the same command goes on there" in capsys.readouterr().err
    monkeypatch.setattr(siege_module, "try_inversion", stub("inversion"))
    assert main([*command, "--json"]) == 0
    assert made == ["words", "inversion", "inversion", "inversion"]  # of one vector, twice, and of three
    found = json.loads(capsys.readouterr().out)
    assert [outcome["attack"] for outcome in found["outcomes"]] == ["words", "inversion-1", "inversion-3"]
    # Another weight is another siege, in the same folder.
    assert main([*command, "--weight", "0.5"]) == 0
    assert made[4:] == ["words", "inversion", "inversion"]
    assert len(list(out.glob("church-*.json"))) == 6


def test_a_concept_that_the_model_does_not_draw_cannot_be_attacked(
    tiny_checkpoint: Path, tmp_path: Path, few_words: None, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr("erasure.judge.scale.LEAST_DISTANCE", 1e9)
    lora = random_lora(tmp_path / "lora.safetensors", OURS)
    assert main(_attack(tiny_checkpoint, lora, "--out", str(tmp_path / "out"))) == 1
    assert "does not draw it recognisably: church; name another concept" in capsys.readouterr().err


def test_pictures_that_are_no_pictures_do_not_pass_for_an_erasure_that_holds(
    tiny_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = _witness(tiny_model, monkeypatch)
    with pytest.raises(LoraFileError, match="only values that are not finite; choose a smaller weight"):
        witness.levels(torch.full((1, *tiny_model.latent_shape), float("nan")), ["a {}"])


def test_a_dry_run_says_what_each_attack_costs_and_writes_nothing(
    tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lora, out = random_lora(tmp_path / "lora.safetensors", OURS), tmp_path / "out"
    assert main(_attack(tiny_checkpoint, lora, "--dry-run", "--rows", "5000", "--out", str(out))) == 0
    shown = capsys.readouterr().err
    assert "search 5,000" in shown
    assert "at most about" in shown
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--attacks", "bribe"), 2, "there is no attack 'bribe'"),
        (("--rows", "7"), 2, "--rows is 7"),
        (("--table", "missing.json"), 1, "the table missing.json cannot be read"),
        (("--classifier", "missing.safetensors"), 1, "missing.safetensors cannot be read"),
    ],
)
def test_what_cannot_be_attacked_is_refused_before_anything_is_loaded(
    tiny_checkpoint: Path, tmp_path: Path, flags: tuple[str, ...], code: int, message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    lora = random_lora(tmp_path / "lora.safetensors", OURS)
    assert main(_attack(tiny_checkpoint, lora, "--out", str(tmp_path / "out"), *flags)) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert "loads the checkpoint" not in shown.err


@pytest.mark.parametrize(
    "text", ["[]", "{", '{"church": []}', '{"church": {"synonyms": "kirk"}}', '{"church": {"colour": []}}',
             '{"church": {"translations": []}}', '{"church": {"parts": [""]}}'],
)  # fmt: skip
def test_a_table_of_another_form_is_refused_with_what_it_should_be(
    tiny_checkpoint: Path, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lora, table = random_lora(tmp_path / "lora.safetensors", OURS), tmp_path / "table.json"
    table.write_text(text, encoding="utf-8")
    assert main(_attack(tiny_checkpoint, lora, "--dry-run", "--table", str(table))) == 1
    assert "write JSON as in erasure/data/other_words.json" in capsys.readouterr().err


@pytest.mark.slow
def test_the_bench_attacks_what_a_method_erases_and_shares_the_untouched_pictures(
    bench: Bench,  # noqa: F811
    few_words: None,
    quick_pictures: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = (Wording("own", "church"), Wording("case", "CHURCH"))
    for module in ("erasure.judge.scale", "erasure.attacks.witness"):
        monkeypatch.setattr(f"{module}.CUT", -1e9)  # sees the concept everywhere
    monkeypatch.setattr(siege_module, "wordings", lambda *given, **more: texts)
    options = SuiteOptions(limit=1, steps=2, batch=4, metrics=("attacks",), attacks=("words",))
    row = run_to_end(work(Cell(replace(bench, options=options), "single-church", variant("uce"), 0)))
    assert set(row["after"]) >= {"ESR-1", "ASR own", "ASR words (judge)"}
    assert row["after"]["ASR own (judge)"] == row["before"]["ASR own (judge)"] == 100
    assert row["after"]["ASR own"] < 100  # the classifier sees no church in noise
    assert len(list((bench.folder / "base").rglob("attacks-single-church-*.safetensors"))) == 1
    assert len(list((bench.folder / "cells" / row["folder"] / "attacks").glob("church-words-*.json"))) == 1


def test_attacks_that_do_not_exist_are_an_error_before_a_bench_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--folder", str(tmp_path), "--metrics", "attacks", "--attacks", "bribe"]) == 2
    assert "there is no attack 'bribe'" in capsys.readouterr().err


def test_the_untouched_pictures_of_one_model_are_not_taken_for_anothers(tmp_path: Path) -> None:
    class Kept:
        def __init__(self, value: float):
            self.value = value

        def tensors(self) -> dict[str, Any]:
            return {"x": torch.tensor([self.value])}

        def meta(self) -> dict[str, Any]:
            return {}

        def load(self, tensors: dict[str, Any], meta: object) -> None:
            self.value = float(tensors["x"])

    for model in ("one", "other"):
        archive, album = Archive(tmp_path, [model], ["lora"]), Kept(0.0)
        archive.load_album(album)  # type: ignore[arg-type]
        assert album.value == 0.0, "nothing is kept of this model"
        archive.keep_album(Kept(1.0))  # type: ignore[arg-type]
        Archive(tmp_path, [model], ["another lora"]).load_album(album)  # type: ignore[arg-type]
        assert album.value == 1.0


def test_attacks_on_another_checkpoint_weights_or_by_another_classifier_are_made_anew(
    tiny_checkpoint: Path, tmp_path: Path, few_words: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora = random_lora(tmp_path / "lora.safetensors", OURS)
    made: list[str] = []

    def attack(witness: Witness, *rest: Any) -> Generator[float, None, list[Attempt]]:
        made.append("words")
        yield 0.5
        return [Attempt("own", "words", (True,), (False,))]

    monkeypatch.setattr(siege_module, "try_words", attack)
    other = tmp_path / "models" / tiny_checkpoint.name
    shutil.copytree(tiny_checkpoint.parent, other.parent)
    tensors = load_file(tiny_checkpoint)
    name = next(name for name in tensors if name.endswith("out.2.bias"))
    save_file({**tensors, name: tensors[name] + 0.01}, other)
    out = tmp_path / "out"
    flags = ("--attacks", "words", "--out", str(out))
    classifier = ("--classifier", str(FOLDER / "classifier.safetensors"))
    for count, command in enumerate(
        (_attack(tiny_checkpoint, lora, *flags), _attack(other, lora, *flags),
         _attack(tiny_checkpoint, lora, *flags, *classifier)), 1,
    ):  # fmt: skip
        for _ in range(2):
            assert main(command) == 0
            assert len(made) == count
    assert len(list(out.glob("untouched-*.safetensors"))) == 2
