"""The README of a shared LoRA: a model card as the Hugging Face Hub reads it."""

from __future__ import annotations

import json
from typing import Any

from erasure.errors import RunError
from erasure.lora.metadata import TAGS as FILE_TAGS
from erasure.share.about import About
from erasure.share.markdown import code, escaped, fenced, one_line, table
from erasure.share.order import ShareOrder
from erasure.share.pictures import COVER, SHEET, SharedPictures, row_file
from erasure.training.update_count import updates
from erasure.verdict.verdict import Finding, Verdict, hurt_line, lines

TAGS = (*FILE_TAGS, "adversarial-erase")
_UNSAFE_TAG = "not-for-all-audiences"
_HURT_MOST = 10
_BOTH_WEIGHTS = " Where a program has two weights, one for the text encoder and one for the U-Net, give both the same."
CITATION = """@inproceedings{bui2024erasing,
  title     = {Erasing Undesirable Concepts in Diffusion Models with Adversarial Preservation},
  author    = {Bui, Anh and Vuong, Long and Doan, Khanh and Le, Trung and Montague, Paul and Abraham, Tamas and
               Phung, Dinh},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024}
}"""


def model_card(about: About, order: ShareOrder, pictures: SharedPictures, sha256: str) -> str:
    """Return the card; ``sha256``: of the LoRA file as it is shared.

    Raises: RunError if huggingface_hub does not read back what was put into its front matter.
    """
    from huggingface_hub import ModelCard, ModelCardData

    values = front_matter(about, order, pictures)
    text = f"---\n{ModelCardData(**values).to_yaml()}\n---\n\n{_body(about, order, pictures, sha256)}\n"
    read = ModelCard(text).data.to_dict()
    wrong = sorted(key for key in {*values, *read} if values.get(key) != read.get(key))
    if wrong:
        raise RunError(f"the model card would not be read as it is meant ({', '.join(wrong)}); nothing was written")
    return text


def front_matter(about: About, order: ShareOrder, pictures: SharedPictures) -> dict[str, Any]:
    """Return what the card's front matter says, as plain types; keys that are not known are absent."""
    base = order.base_model or (about.base.hub if about.base else "")
    shows_unsafe = about.unsafe and pictures.sheet is not None
    values: dict[str, Any] = {
        "license": order.license,
        "base_model": base or None,
        "base_model_relation": "adapter" if base else None,
        "library_name": "diffusers",
        "pipeline_tag": "text-to-image",
        "tags": [*TAGS, *([_UNSAFE_TAG] if shows_unsafe else [])],
        "widget": _widget(about, pictures) or None,
    }
    return {key: value for key, value in values.items() if value is not None}


def _widget(about: About, pictures: SharedPictures) -> list[dict[str, Any]]:
    """Return prompts, those of the pictures with their picture after erasing."""
    shown: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(pictures.rows):
        prompt = one_line(row.subject.prompt)
        shown.setdefault(prompt, {"text": prompt, "output": {"url": row_file(number)}})
    for prompt in map(one_line, about.prompts()):
        shown.setdefault(prompt, {"text": prompt})
    return list(shown.values())


def _body(about: About, order: ShareOrder, pictures: SharedPictures, sha256: str) -> str:
    erased = ", ".join(f"**{escaped(concept)}**" for concept in about.erases)
    ours = " Made with Adversarial Erase." if about.config else ""
    sections = [
        f"# {escaped(about.name)}",
        f"A LoRA that removes {erased} from {about.family.name}.{ours} It needs no trigger word: it works wherever "
        "it is loaded, and can be left out again.",
        _pictures(pictures),
        f"## What was measured\n\n{_measured(about)}",
        f"## How to use it\n\n{_use(about, order)}",
        f"## What it was made from\n\n{_base(about, order)}",
        f"## Settings\n\n{_settings(about)}",
        f"## The file\n\n{_file(about, sha256)}",
        "## Limits\n\nIt belongs to the base above: on another checkpoint of the family it may erase less, or hurt "
        "more. It removes a concept from a model's habits and is no lock: whoever loads it can leave it out, and a "
        f"negative weight brings the concept out more.{_defended(about)}",
        _credits(about, order),
    ]
    return "\n\n".join(section for section in sections if section)


def _defended(about: About) -> str:
    """Return what was tried against attacks in training, if the file says so."""
    against = {
        "words": "other wordings from which the base draws the concept, the one that was erased least erased next",
        "embeddings": "embeddings near the concept's own that bring it back",
    }.get(str(about.config.get("robust")))
    if against is None:
        return ""
    return (
        f" Training tried to hold it against {against}. That makes it harder to ask for the concept, not impossible: "
        "whoever has the weights and some time can learn a word or train the model until it is back."
    )


def _pictures(pictures: SharedPictures) -> str:
    if pictures.sheet is None:
        return ""
    if not pictures.rows:
        return f"![Pictures before (left) and after (right)]({COVER})"
    return f"![Pictures before (left) and after (right)]({SHEET})\n\nThe same prompts and seeds before and after."


def _measured(about: About) -> str:
    verdict, combined = about.verdict, about.report.combined
    if verdict is None:
        why = "the file does not hold any figures"
        if combined is not None and not combined.refined:
            why = "it was combined from others, and nobody has measured what they do together"
        return (
            f"Nothing: {why}. `python -m erasure judge --checkpoint BASE --lora FILE` of "
            "Adversarial Erase measures what a LoRA erases, keeps and hurts."
        )
    count = sum(finding.pictures for finding in verdict.findings)
    prompts = ", ".join(code(template) for template in about.templates[:5])
    base = code(about.base_name) if about.base_name else "its base"
    when = "" if verdict.step is None else f" after {updates(verdict.step)}"
    said = [f"- {escaped(line)}" for line in (*lines(verdict), hurt_line(verdict)) if line]
    return "\n\n".join(
        [
            f"By whoever made it{when}, with Adversarial Erase, on {base}: {count} pictures (prompts {prompts}), "
            "each drawn without and with the LoRA from the same noise. The judge is the base model itself, which tells "
            "whether a picture shows a concept; it is right for most things and less sure of styles. These figures are "
            "what the file says of itself; `python -m erasure judge --checkpoint BASE --lora FILE` measures them anew.",
            f"{_summary(verdict)}",
            "\n".join(said),
            _findings(verdict),
        ]
    )


def _summary(verdict: Verdict) -> str:
    kept = verdict.kept_share
    gone = "yes" if verdict.gone else "no" if verdict.left else "not known"
    hurt = verdict.worst[0] if verdict.worst and verdict.worst[0].after < verdict.worst[0].before else None
    rows = [
        ("gone", gone),
        ("kept of the nearest words", "not known" if kept is None else f"{kept:.0%}"),
        ("hurt most", "nothing" if hurt is None else f"{escaped(hurt.concept)} ({hurt.after} of {hurt.before})"),
    ]
    return table(("", ""), rows)


def _findings(verdict: Verdict) -> str:
    targets = [finding for finding in verdict.findings if finding.role in ("target", "name")]
    hurt = [finding for finding in verdict.worst if finding.after < finding.before][:_HURT_MOST]
    rows = [_row(finding, "erased") for finding in targets] + [_row(finding, "kept?") for finding in hurt]
    return table(("concept", "", "recognised before", "after"), rows) if rows else ""


def _row(finding: Finding, what: str) -> tuple[str, ...]:
    of = finding.pictures
    return escaped(finding.concept), what, f"{finding.before} of {of}", f"{finding.after} of {of}"


def _use(about: About, order: ShareOrder) -> str:
    file = f"{about.name}.safetensors"
    base = order.base_model or (about.base.hub if about.base else "")
    place = order.repo or "."
    prompts = about.prompts()
    prompt = prompts[0] if prompts else "a photo"
    pipeline = about.family.pipelines[0]
    loading = (
        f"pipe = {pipeline}.from_pretrained({base!r})"
        if base
        else f"pipe = {pipeline}.from_single_file({about.base_name or 'BASE.safetensors'!r})"
    )
    python = (
        f"from diffusers import {pipeline}\n\n"
        f"{loading}\n"
        f"pipe.load_lora_weights({place!r}, weight_name={file!r})\n"
        f"image = pipe({prompt!r}).images[0]"
    )
    checkpoint = _quoted(about.base_name or "BASE.safetensors")
    flags = "".join(f"--{flag} " for flag in about.family.lora.flags_of(about.prediction))
    kohya = (
        f"python gen_img.py {flags}--ckpt {checkpoint} --network_module networks.lora \\\n"
        f"  --network_weights {_quoted(file)} --network_mul 1 --prompt {_quoted(prompt)} --outdir images"
    )
    comfy = "`strength_model` 1. It does not change the text encoder, so `strength_clip` has no effect."
    if about.changes_text:
        comfy = "`strength_model` and `strength_clip` 1: it changes the U-Net and the text encoder."
    parts = [
        f"**AUTOMATIC1111 and Forge.** Put {code(file)} into `models/Lora` and write this into the prompt:",
        fenced(f"<lora:{about.name}:1>"),
        f"**ComfyUI.** Put {code(file)} into `models/loras` and add a *Load LoRA* node between the checkpoint and the "
        f"sampler, with {comfy}",
        f"**diffusers** (with `peft`){'' if order.repo else ', from the folder that this file lies in'}:",
        fenced(python, "python"),
        "**kohya's sd-scripts:**",
        fenced(kohya, "sh"),
        "A weight below 1 erases less." + (_BOTH_WEIGHTS if about.changes_text else ""),
    ]
    return "\n\n".join(parts)


def _quoted(text: str) -> str:
    """Return a text as one word of a shell, with nothing in it that a shell would expand."""
    return "'" + text.replace("'", "'\\''") + "'"


def _base(about: About, order: ShareOrder) -> str:
    rows = [
        ("checkpoint", code(about.base_name) if about.base_name else ""),
        ("on the Hub", code(order.base_model) if order.base_model else code(about.base.hub) if about.base else ""),
        ("sha256", code(about.sha256) if about.sha256 else ""),
        ("short hash", code(about.short_hash) if about.short_hash else ""),
        ("weights", escaped(about.report.base.get("weights", ""))),
    ]
    known = [row for row in rows if row[1]]
    base = table(("", ""), known) if known else "The file does not say which checkpoint it was made from."
    return "\n\n".join([base, *_parts(about)])


def _parts(about: About) -> list[str]:
    """Return which files it was combined from, and how; nothing for others."""
    made = about.report.combined
    if made is None:
        return []
    rows = [
        (
            escaped(part.name),
            f"{part.weight:g}",
            escaped(", ".join(part.erases)),
            code(part.sha256) if part.sha256 else "",
        )
        for part in made.parts
    ]
    how = f" compressed to rank {made.rank}, which left out {made.left_out:.1%} of the change," if made.rank else ""
    then = " and then trained on together" if made.refined else ""
    return [
        f"It was combined from these LoRAs,{how or ' as an exact sum'}{then}:",
        table(("LoRA", "weight", "erases", "sha256"), rows),
    ]


def _settings(about: About) -> str:
    if not about.config:
        return "Not known: the file was not made by Adversarial Erase."
    asked = {key: value for key, value in about.report.asked.items() if key in about.config}
    parts = ["Asked for:", fenced(_json(asked), "json")] if asked else []
    used = fenced(_json(about.config), "json")
    combined = about.report.combined
    what = "All settings, as used" if combined is None or combined.refined else "All settings, of its parts together"
    return "\n\n".join([*parts, f"<details><summary>{what}</summary>", used, "</details>"])


def _json(values: dict[str, Any]) -> str:
    # ASCII, so that nothing in it can be mistaken; one line each, so that no line has an end of its own.
    return json.dumps(values, indent=1)


def _file(about: About, sha256: str) -> str:
    report = about.report
    rows = [
        ("changes", "the U-Net and the text encoder" if about.changes_text else "the U-Net"),
        ("layers, rank", f"{report.layers}, {'/'.join(map(str, report.ranks[:5]))}"),
        ("precision", escaped(report.precision)),
        ("updates", escaped(report.trained.get("updates", ""))),
        ("made", escaped(report.trained.get("made", ""))),
        ("sha256", code(sha256)),
        ("sha256 of its weights", code(about.metadata.get("sshs_model_hash", ""))),
    ]
    known = [row for row in rows if row[1] not in ("", "``", "unknown")]
    return table(("", ""), known) + "\n\n`python -m erasure inspect FILE` checks the hashes and shows all that it says."


def _credits(about: About, order: ShareOrder) -> str:
    by = f"Made by {escaped(order.author)}. " if order.author else ""
    if not about.config:
        return f"## Credits\n\n{by}This page was written by Adversarial Erase." if by else ""
    method = (
        "Adversarial Erase follows adversarial preservation: while a concept is erased, the concept that is being hurt "
        "most is searched for and preserved (Bui et al., NeurIPS 2024)."
    )
    return f"## Credits and citation\n\n{by}{method}\n\n{fenced(CITATION, 'bibtex')}"
