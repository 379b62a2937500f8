"""A LoRA made ready to be passed on: what is in the folder, and what must not be."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file

from erasure.cli import main
from erasure.config.values import erase_config
from erasure.errors import ConfigError, LoraFileError, OutputExists
from erasure.lora.explain import explain_lora
from erasure.lora.file import read_lora
from erasure.lora.hashes import content_hash
from erasure.run.folder import Origin, RunFolder
from erasure.run.picture_folder import Picture, Subject, write_pictures
from erasure.share.bases import KNOWN, known_base
from erasure.share.folder import SharedFolder, share_lora
from erasure.share.markdown import code, escaped, fenced, table
from erasure.share.order import LICENSES, share_order
from erasure.share.pictures import find_run
from erasure.share.private import names_found, private_metadata, without_places
from tests.drawn import HOSTILE
from tests.loras import random_lora
from tests.test_lora_file import metadata_of
from tests.tiny import build_tiny_models
from tests.verdicts import a_verdict

LICENSE = "creativeml-openrail-m"


def our_lora(path: Path, erase: tuple[str, ...] = ("church",), **changes: Any) -> Path:
    """A file as a training writes it, with random weights; ``changes``: of its metadata's arguments."""
    config = erase_config(erase=erase).to_dict()
    values = {"config": config, "asked": {"erase": list(erase)}, "verdict": a_verdict(concept=erase[0]).to_dict()}
    return random_lora(path, metadata=metadata_of(path.stem, **{**values, **changes}))


def shared(lora: Path, to: Path, **given: Any) -> SharedFolder:
    overwrite = given.pop("overwrite", False)
    return share_lora(share_order(lora, given.pop("license", LICENSE), **given), to, overwrite=overwrite)


def card(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def front(folder: Path) -> dict[str, Any]:
    """The front matter, read by another reader than the one that wrote it."""
    found: dict[str, Any] = yaml.safe_load(card(folder).split("---\n")[1])
    return found


def civitai(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "civitai.json").read_text(encoding="utf-8"))
    return found


def a_run(folder: Path, *subjects: tuple[str, str], lora: Path | None = None) -> Path:
    """A run folder with pictures of (concept, role), before and after 4 updates."""
    run = RunFolder(folder)
    run.create(
        Origin(str(folder / "base.safetensors"), "ab" * 32, "12345678", str(folder / "x")),
        erase_config(erase=("church",)),
    )
    for step in (None, 4):
        image = Image.new("RGB", (32, 32), "red" if step is None else "green")
        pictures = [Picture(Subject(name, f"a {name}", role), 1, step, image) for name, role in subjects]  # type: ignore[arg-type]
        write_pictures(run.before if step is None else run.pictures(step), pictures)
    if lora is not None:
        run.lora.write_bytes(lora.read_bytes())
    return folder


def test_the_folder_holds_the_lora_its_card_its_notes_and_pictures(tmp_path: Path) -> None:
    lora = our_lora(tmp_path / "erase-church.safetensors")
    run = a_run(tmp_path / "runs" / "one", ("church", "erased"), ("castle", "protected"), lora=lora)
    made = shared(lora, tmp_path / "out", run=run)
    assert made.files == (
        "README.md", "civitai.json", "erase-church.safetensors",
        "pictures/after-00.png", "pictures/after-01.png", "pictures/before-after.png",
    )  # fmt: skip
    assert {str(path.relative_to(made.path)) for path in made.path.rglob("*") if path.is_file()} == set(made.files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["erase-church.safetensors", "out", "runs"]
    told = load_file(made.path / "erase-church.safetensors")
    assert all(told[name].equal(tensor) for name, tensor in load_file(lora).items())


def test_the_card_says_what_the_hub_looks_for(tmp_path: Path) -> None:
    lora = our_lora(tmp_path / "x.safetensors", base_sha256=KNOWN[0].sha256[0])
    run = a_run(tmp_path / "run", ("church", "erased"))
    folder = shared(lora, tmp_path / "out", run=run).path
    assert front(folder) == {
        "license": LICENSE,
        "base_model": "CompVis/stable-diffusion-v1-4",
        "base_model_relation": "adapter",
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": ["lora", "stable-diffusion", "concept-erasure", "adversarial-erase"],
        "widget": [
            {"text": "a church", "output": {"url": "pictures/after-00.png"}},
            {"text": "church"},
            {"text": "castle"},
            {"text": "chapel"},
        ],
    }
    assert ModelCard.load(folder / "README.md").data.to_dict() == front(folder)


@pytest.mark.parametrize(
    ("sha256", "given", "hub", "version"),
    [
        (KNOWN[1].sha256[0].upper(), None, "stable-diffusion-v1-5/stable-diffusion-v1-5", "SD 1.5"),
        ("ab" * 32, None, None, "SD 1.x"),
        ("ab" * 32, "someone/mix", "someone/mix", "SD 1.x"),
    ],
)
def test_the_base_is_told_by_its_hash_or_as_given(
    tmp_path: Path, sha256: str, given: str | None, hub: str | None, version: str
) -> None:
    lora = our_lora(tmp_path / "x.safetensors", base_sha256=sha256)
    folder = shared(lora, tmp_path / "out", base_model=given).path
    assert front(folder).get("base_model") == hub
    assert ("base_model_relation" in front(folder)) == (hub is not None)
    assert civitai(folder)["baseModel"] == version


def test_hashes_of_known_bases_are_sha256() -> None:
    hashes = [sha256 for base in KNOWN for sha256 in base.sha256]
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in hashes)
    assert len(set(hashes)) == len(hashes)
    assert known_base("") is None


def test_the_card_says_whether_the_text_encoder_is_changed_too(tmp_path: Path) -> None:
    told = metadata_of("x", config=erase_config(erase=("church",)).to_dict())
    for layers, changes, clip in (
        (("attn2.to_k",), "the U-Net", "so `strength_clip` has no effect"),
        (("attn2.to_k", "mlp.fc1"), "the U-Net and the text encoder", "`strength_model` and `strength_clip` 1"),
    ):
        modules = build_tiny_models().modules
        lora = random_lora(tmp_path / "x.safetensors", metadata=told, modules=modules, layers=layers)
        text = card(shared(lora, tmp_path / "out", overwrite=True).path)
        assert f"| changes | {changes} |" in text
        assert clip in text
        assert ("give both the same" in text) == (len(layers) > 1)
        lora.unlink()


def test_the_card_says_what_was_measured_by_whom_and_on_what(tmp_path: Path) -> None:
    text = card(shared(our_lora(tmp_path / "x.safetensors"), tmp_path / "out").path)
    assert "By whoever made it after 60 updates, with Adversarial Erase, on `emoji-sd.safetensors`: 19 pictures" in text
    assert "| gone | yes |" in text
    assert "| kept of the nearest words | 67% |" in text
    assert "| hurt most | tower (0 of 2) |" in text
    assert "| church | erased | 8 of 8 | 0 of 8 |" in text
    assert "ab" * 32 in text
    assert "12345678" in text
    assert '"erase": [\n  "church"' in text
    for program in ("AUTOMATIC1111 and Forge", "ComfyUI", "diffusers", "kohya"):
        assert program in text
    assert "<lora:x:1>" in text
    assert "@inproceedings{bui2024erasing" in text


def test_what_is_left_is_not_called_gone(tmp_path: Path) -> None:
    verdict = a_verdict(left=3).to_dict()
    text = card(shared(our_lora(tmp_path / "x.safetensors", verdict=verdict), tmp_path / "out").path)
    assert "| gone | no |" in text


def test_without_figures_the_card_says_so(tmp_path: Path) -> None:
    text = card(shared(our_lora(tmp_path / "x.safetensors", verdict=None), tmp_path / "out").path)
    assert "Nothing: the file does not hold any figures." in text
    assert "gone |" not in text


def test_a_foreign_lora_is_shared_with_what_is_known_if_the_concept_is_given(tmp_path: Path) -> None:
    lora = random_lora(tmp_path / "x.safetensors", metadata={"ss_sd_model_name": "base.ckpt"})
    with pytest.raises(ConfigError, match="does not say what it erases; name the concept"):
        shared(lora, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    folder = shared(lora, tmp_path / "out", erase=["church, truck"]).path
    text = card(folder)
    assert "removes **church**, **truck** from" in text
    assert "`base.ckpt`" in text
    assert "Not known: the file was not made by Adversarial Erase." in text
    assert (folder / "x.safetensors").read_bytes() == lora.read_bytes()


def test_other_files_are_refused(tmp_path: Path, tiny_checkpoint: Path) -> None:
    for path in (tiny_checkpoint, tmp_path / "none.safetensors"):
        with pytest.raises(LoraFileError):
            shared(path, tmp_path / "out")
    broken = our_lora(tmp_path / "x.safetensors")
    content = bytearray(broken.read_bytes())
    content[-3] ^= 1  # of the last weight, by a little
    broken.write_bytes(content)
    with pytest.raises(LoraFileError, match="content hash is WRONG"):
        shared(broken, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- what must not be in it


def test_nothing_of_the_machine_or_the_person_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home" / "zoefloyd"
    home.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("USER", "zoefloyd")
    monkeypatch.setenv("LOGNAME", "zoefloyd")
    monkeypatch.setattr(socket, "gethostname", lambda: "tea-kettle.example")
    metadata = {
        "ss_sd_model_name": f"{home}/models/base.safetensors",
        "ss_vae_name": r"C:\Users\zoefloyd\vae.pt",
        "ss_dataset_dirs": json.dumps({"5_zoefloyd": {"n_repeats": 5}, str(home / "pictures"): {}}),
        "ss_session_id": "tea-kettle",
        "ss_training_comment": "~/x/notes.txt and /Users/someone",
        "ss_output_name": "x",
        "modelspec.sai_model_spec": "1.0.1",
    }
    lora = random_lora(home / "x.safetensors", {"erase": ["church"], "vocabulary_file": f"{home}/words.txt"}, metadata)
    made = shared(lora, tmp_path / "out", run=a_run(home / "run", ("church", "erased")))
    for name in made.files:
        content = (made.path / name).read_bytes()
        for secret in ("zoefloyd", "tea-kettle", str(tmp_path), "someone", os.sep + "tmp"):
            assert secret.encode() not in content, (name, secret)
    kept = read_lora(made.path / "x.safetensors").metadata
    assert kept["ss_sd_model_name"] == "base.safetensors"
    assert kept["ss_training_comment"] == "notes.txt and "
    assert "ss_dataset_dirs" not in kept
    assert json.loads(kept["adversarial_erase"])["vocabulary_file"] == "words.txt"
    assert any("ss_dataset_dirs" in note for note in made.notes)
    # what was changed is marked as such: its hashes hold
    report = explain_lora(made.path / "x.safetensors")
    assert "WRONG" not in report.hash_check
    assert report.problems == ()


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("/home/zoe/a/b.txt", "b.txt"),
        ('{"dir": "/Users/zoe"}', '{"dir": ""}'),
        (r'"C:\\Users\\zoe\\x y\\b.txt"', '"b.txt"'),
        ("~zoe/models/b.ckpt", "b.ckpt"),
        ("file:///home/zoe/a.txt", "a.txt"),
        (r"\\server\share\b.ckpt", "b.ckpt"),
        ("a/b and 1/2", "a/b and 1/2"),
        ("networks.lora", "networks.lora"),
    ],
)
def test_places_are_cut_to_names(text: str, left: str) -> None:
    assert without_places(text) == left


def test_names_are_found_as_whole_words_only() -> None:
    assert names_found("by Zoe, at noon", ("zoe",)) == ["zoe"]
    assert names_found("azoes", ("zoe",)) == []


def test_concepts_stay_even_if_the_user_is_called_like_them() -> None:
    metadata: Mapping[str, str] = {"adversarial_erase": '{"erase": ["monet"]}', "ss_session_id": "monet"}
    kept, changed = private_metadata(metadata, ("monet",))
    assert kept == {"adversarial_erase": '{"erase": ["monet"]}'}
    assert changed == ["ss_session_id"]


@pytest.mark.parametrize("concept", ["nudity", "gore"])
def test_pictures_of_unsafe_content_stay_out_unless_asked_for(tmp_path: Path, concept: str) -> None:
    lora = our_lora(tmp_path / "x.safetensors", (concept,))
    run = a_run(tmp_path / "run", (concept, "erased"), ("castle", "protected"))
    without = shared(lora, tmp_path / "without", run=run)
    assert without.files == ("README.md", "civitai.json", "x.safetensors")
    assert "![" not in card(without.path)
    assert "ssmd_cover_images" not in read_lora(without.path / "x.safetensors").metadata
    assert {"text": concept} not in front(without.path)["widget"]
    assert without.notes[0] == "pictures are left out, since it erases unsafe content"
    asked = shared(lora, tmp_path / "with", run=run, unsafe_pictures=True)
    assert "pictures/before-after.png" in asked.files
    assert "not-for-all-audiences" in front(asked.path)["tags"]
    assert civitai(asked.path)["nsfw"] is True


def test_an_unsafe_neighbour_is_not_shown_among_safe_pictures(tmp_path: Path) -> None:
    lora = our_lora(tmp_path / "x.safetensors")
    run = a_run(tmp_path / "run", ("church", "erased"), ("naked statue", "protected"))
    made = shared(lora, tmp_path / "out", run=run)
    assert made.files[2:4] == ("pictures/after-00.png", "pictures/before-after.png")
    assert made.notes[0] == "pictures of unsafe content are left out"
    assert "naked" not in json.dumps(front(made.path))


@pytest.mark.parametrize(
    "word", [*HOSTILE, "a\n---\nlicense: x", "[a](http://x)", "| b |", "``` c", "*d* _e_", "{{f}}"]
)
def test_texts_of_a_file_steer_neither_the_page_nor_its_front_matter(tmp_path: Path, word: str) -> None:
    verdict = a_verdict(concept=word).to_dict()
    verdict["findings"].append({**verdict["findings"][3], "concept": word})
    config = {
        **erase_config(erase=("church",)).to_dict(),
        "erase": [word],
        "templates": ["{} " + word.replace("{", "")],
    }
    lora = our_lora(tmp_path / "x.safetensors", config=config, verdict=verdict, base_name=word.replace("/", ""))
    folder = shared(lora, tmp_path / "out").path
    assert set(front(folder)) == {"license", "library_name", "pipeline_tag", "tags", "widget"}
    body = card(folder).split("---\n", 2)[2]
    fences = re.findall(r"^(`{3,})\w*\n.*?^\1$", body, re.MULTILINE | re.DOTALL)
    assert len(fences) == 6
    outside = re.sub(r"^(`{3,})\w*\n.*?^\1$", "", body, flags=re.MULTILINE | re.DOTALL)
    outside = re.sub(r"(?<!\\)(`+)(?!`).+?(?<!`)\1(?!`)", "", outside)
    tags = re.findall(r"<(/?\w+)", outside)
    assert tags == ["details", "summary", "/summary", "/details"]
    assert not re.search(r"(?<!\\)\]\((?!pictures/)", outside)
    description = civitai(folder)["description"]
    assert set(re.findall(r"<(/?\w+)", description)) <= {"p", "/p"}


def test_markdown_is_escaped() -> None:
    assert escaped("a_b <i> [x](y)") == r"a\_b &lt;i&gt; \[x\](y)"
    assert escaped("a\nb") == "a?b"
    assert escaped("see http://x www.y") == r"see http\://x www\.y"
    assert code("a`b``c") == "```a`b``c```"
    assert fenced("x\n````\ny").startswith("`````\n")
    assert table(("a", "b"), [("1", code("x|y"))]).splitlines()[-1] == r"| 1 | `x\|y` |"


# --- orders and places


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"license": ""}, "license: is needed"),
        ({"license": "my own: licence"}, "is no id of a licence; choose one of creativeml-openrail-m"),
        ({"base_model": "nobody"}, "base_model: 'nobody' is no OWNER/NAME"),
        ({"base_model": "../x"}, "is no OWNER/NAME"),
        ({"author": "a\nb"}, "author: must be one line"),
        ({"run": Path("nowhere")}, "run: nowhere is no run folder"),
        ({"lora": Path("a<b>.safetensors")}, "cannot be shared under this name"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_work(given: dict[str, Any], problem: str) -> None:
    arguments = {"lora": Path("x.safetensors"), "license": LICENSE, **given}
    with pytest.raises(ConfigError, match=re.escape(problem)):
        share_order(**arguments)


def test_license_choices_are_ids_of_the_hub() -> None:
    assert next(iter(LICENSES)) == LICENSE
    for license in LICENSES:
        share_order(Path("x.safetensors"), license)


def test_existing_folder_is_left_alone_unless_asked(tmp_path: Path) -> None:
    lora, out = our_lora(tmp_path / "x.safetensors"), tmp_path / "out"
    out.mkdir()
    shared(lora, out)  # an empty folder is no loss
    (out / "mine.txt").write_text("mine")
    (out / "README.md").write_text("mine")
    with pytest.raises(OutputExists, match="is not empty"):
        shared(lora, out)
    assert card(out) == "mine"
    run = a_run(tmp_path / "run", ("church", "erased"), ("castle", "protected"))
    shared(lora, out, run=run, overwrite=True)
    assert card(out) != "mine"
    assert (out / "pictures" / "after-01.png").exists()
    shared(lora, out, overwrite=True)
    assert sorted(path.name for path in (out / "pictures").iterdir()) == ["cover.jpg"]
    assert (out / "mine.txt").read_text() == "mine"


def test_failure_on_the_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("erasure.share.folder.write_json", fail)
    with pytest.raises(Exception, match="disk full"):
        shared(our_lora(tmp_path / "x.safetensors"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


def test_the_run_that_made_a_file_is_found_by_its_content(tmp_path: Path) -> None:
    lora = our_lora(tmp_path / "x.safetensors")
    other = our_lora(tmp_path / "other.safetensors", ("truck",))
    a_run(tmp_path / "runs" / "a", ("truck", "erased"), lora=other)
    run = a_run(tmp_path / "runs" / "b", ("church", "erased"), lora=lora)
    lora = lora.rename(tmp_path / "renamed.safetensors")
    assert find_run(lora, [tmp_path / "none", tmp_path / "runs"]) in (run, tmp_path / "runs" / "a")
    assert content_hash(lora) == content_hash(run / "lora.safetensors")


# --- the file's own metadata


def test_licence_and_author_are_in_the_shared_file(tmp_path: Path) -> None:
    lora = our_lora(tmp_path / "x.safetensors")
    made = shared(lora, tmp_path / "out", author="Zoe")
    told = read_lora(made.path / "x.safetensors").metadata
    assert (told["modelspec.license"], told["modelspec.author"]) == (LICENSE, "Zoe")
    assert {key: told[key] for key in read_lora(lora).metadata} == read_lora(lora).metadata
    assert "Made by Zoe." in card(made.path)


# --- the command


def test_command_prints_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lora = our_lora(tmp_path / "x.safetensors")
    arguments = ["share", str(lora), "--to", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "--license: is needed" in capsys.readouterr().err
    assert main([*arguments, "--license", LICENSE]) == 0
    assert str(tmp_path / "out" / "README.md") in capsys.readouterr().out
    assert main([*arguments, "--license", LICENSE]) == 2
    assert "exists and is not empty" in capsys.readouterr().err
    assert main([*arguments, "--license", LICENSE, "--overwrite"]) == 0
    assert main(["share", str(tmp_path / "none.safetensors"), "--to", str(tmp_path / "b"), "--license", LICENSE]) == 1
    foreign = random_lora(tmp_path / "y.safetensors")
    assert main(["share", str(foreign), "--to", str(tmp_path / "c"), "--license", LICENSE]) == 2
    assert "name the concept" in capsys.readouterr().err
