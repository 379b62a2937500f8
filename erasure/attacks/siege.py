"""A siege: all attacks on an erasure, one after the other, each of which is made once."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from erasure.attacks.archive import Archive
from erasure.attacks.attack_settings import AttackSettings
from erasure.attacks.finetune import try_finetuning
from erasure.attacks.inversion import try_inversion
from erasure.attacks.outcome import Outcome
from erasure.attacks.report import SiegeReport
from erasure.attacks.search import try_search
from erasure.attacks.sheet import write_sheet
from erasure.attacks.witness import Classify, Witness, Work
from erasure.attacks.words import try_words
from erasure.concepts.build import space_steps
from erasure.concepts.lookalikes import Lookalikes
from erasure.concepts.other_words import OtherWords, words_for
from erasure.concepts.row_count import UNRELATED
from erasure.concepts.space import ConceptSpace, TargetSpace
from erasure.concepts.unrelated import unrelated_words
from erasure.concepts.vocabulary import load_vocabulary
from erasure.concepts.wordings import wordings
from erasure.config.settings import space_settings
from erasure.config.template import fill
from erasure.errors import OutOfMemory
from erasure.file_hashes import sha256_of_files
from erasure.judge.album import Album, open_album
from erasure.judge.takes import takes
from erasure.lora.fit import match_lora
from erasure.lora.model_adapter import inject_lora_file, model_shapes
from erasure.model.checkpoint import sha256
from erasure.model.configuration import configuration_of
from erasure.model.drawing import relayed
from erasure.model.model import Model, open_model
from erasure.model.stage import Stage, counted
from erasure.verdict.measurement import MeasureTask, base_note

# A hundred steps of progress for each attack.
_STEPS = 100


@dataclass(frozen=True)
class Siege:
    """What is attacked, how, and where what is found goes.

    ``task``: the LoRA file with its checkpoint and concepts. ``tables``: other words for concepts, the user's own
    first. ``classifier``: makes a second opinion on a concept, None if it knows none; ``classifier_name`` tells it from
    others. ``untouched``: a file for the untouched model's pictures, which several sieges may share (None: one in the
    folder).
    """

    task: MeasureTask
    settings: AttackSettings
    folder: Path
    tables: tuple[Mapping[str, OtherWords], ...] = ()
    classifier: Callable[[str], Classify | None] = lambda concept: None
    classifier_name: str = ""
    untouched: Path | None = None
    device: str = "cpu"


def besiege(siege: Siege, space: ConceptSpace | None = None) -> Generator[Stage, None, SiegeReport]:
    """Make all attacks but those that were made already. Yields how far it is.

    ``space``: the concept space of the task's config, if it is known. Raises: EraseError if the checkpoint cannot be
    loaded, the file does not fit it, or the folder cannot be used.
    """
    task, config = siege.task, siege.task.config
    yield Stage("loads the checkpoint")
    # What learns takes gradients, which fp16 would round to nothing.
    precision = "fp32" if siege.device == "cpu" or config.precision == "fp16" else config.precision
    model = open_model(task.checkpoint, precision=precision, resolution=config.resolution, device=siege.device)
    if siege.device != "cpu":
        model.unet.enable_gradient_checkpointing()
        # Older versions of diffusers checkpoint only in training mode. SD 1.x has no dropout for it to switch on.
        model.unet.train()
    match_lora(task.file, model_shapes(model.parts.modules), task.checkpoint.family)
    archive = Archive(siege.folder, _untouched(siege, precision), _lora(task), siege.untouched)
    album = open_album(model, config.templates)
    archive.load_album(album)
    if space is None:
        key = {name: value for name, value in space_settings(config.to_dict()).items() if name != "vocabulary_file"}
        space = archive.space(key)
        if space is None:
            space = yield from space_steps(model, config, album)
            archive.keep_space(key, space)
    inject_lora_file(model.parts.modules, task.file, task.weight)
    outcomes, unknown = [], []
    for target in space.targets:
        found = yield from _on_target(siege, archive, model, album, space, target)
        outcomes += found
        unknown += [] if found else [target.target]
    notes = [*task.notes, *model.parts.notes, base_note(task.file, task.checkpoint), *space.notes]
    if unknown:
        notes.append(f"not attacked, since the model does not draw it recognisably: {', '.join(unknown)}")
    return SiegeReport(tuple(outcomes), tuple(note for note in notes if note))


def _untouched(siege: Siege, precision: str) -> list[object]:
    """Return what the untouched model's pictures depend on, and how the judge sees them."""
    checkpoint, config = siege.task.checkpoint, siege.task.config
    read = [sha256(checkpoint.path), checkpoint.averaged, configuration_of(checkpoint)]
    return [*read, precision, config.resolution, list(config.templates)]


def _lora(task: MeasureTask) -> list[object]:
    """Return what attacks depend on besides; the VAE draws what a classifier sees."""
    vae = task.checkpoint.vae
    drawn_by = "" if vae is None else sha256_of_files([weights.path for weights in vae.weights])
    return [sha256_of_files([task.file.path]), task.weight, drawn_by]


def _on_target(
    siege: Siege, archive: Archive, model: Model, album: Album, space: ConceptSpace, target: TargetSpace
) -> Generator[Stage, None, list[Outcome]]:
    """Make the attacks on one concept; none if the model does not draw it recognisably."""
    config, concept = siege.task.config, target.target
    vocabulary = load_vocabulary(config, model.tokenizer)
    names = space.erased_by_target(config)
    close = space.near | {name for own in names for name in own}
    others = unrelated_words(vocabulary, close, [name for own in names for name in own], UNRELATED)
    about = counted(f"draws {concept}", _STEPS)
    lookalikes = Lookalikes(album, config.templates, (concept,), others, "attacks")
    scale = yield from relayed(lookalikes.scale(concept), about)
    if not scale.tells:
        return []
    witness = Witness(model, album, concept, config.templates, scale, siege.classifier(concept))
    sources = yield from relayed(_sources(witness, siege.settings.sources), about)
    own = names[[t.target for t in space.targets].index(concept)][1:]
    outcomes = []
    for attack, decides, make in _attacks(siege, witness, sources, target, own, vocabulary):
        name = archive.name(concept, attack, [decides, siege.classifier_name])
        outcome = archive.outcome(name)
        if outcome is None:
            witness.keep_in(archive.pictures(name))
            before = model.rows["attacks"]
            try:
                attempts = yield from relayed(make(), counted(f"attacks {concept} by {attack}", _STEPS))
            except torch.cuda.OutOfMemoryError as error:
                raise OutOfMemory(
                    f"the device ran out of memory in the attack {attack}; free some, or make the others with --attacks"
                ) from error
            finally:  # what the untouched model drew is not lost if the attack is stopped
                archive.keep_album(album)
            rows = model.rows["attacks"]
            outcome = Outcome(
                attack, concept, tuple(attempts), int(rows.total - before.total), int(rows.gradient - before.gradient)
            )
            write_sheet(archive.sheet(name), archive.pictures(name), attempts)
            archive.keep(name, outcome)
        outcomes.append(outcome)
    return outcomes


_Made = tuple[str, object, Callable[[], Work]]
"""An attack's name, what decides its outcome besides the concept, and the attack."""


def _attacks(
    siege: Siege,
    witness: Witness,
    sources: Tensor,
    target: TargetSpace,
    names: Sequence[str],
    vocabulary: Sequence[str],
) -> Iterator[_Made]:
    """Return the attacks that were asked for, in their order."""
    settings = siege.settings
    if "words" in settings.attacks:
        near = [candidate.text for candidate in target.preserved]
        table = words_for(target.target, *siege.tables)
        texts = wordings(target.target, names, near, table, seed=settings.seed)
        told = [[w.kind, w.word, w.frame, w.template] for w in texts]
        yield "words", [settings.key("words"), told], lambda: try_words(witness, texts, settings.pictures)
    if "search" in settings.attacks:
        decides = [settings.key("search"), list(vocabulary)]
        yield "search", decides, lambda: try_search(witness, sources, vocabulary, settings)
    if "inversion" in settings.attacks:
        for vectors in settings.vectors:
            name = f"inversion-{vectors}"
            yield name, settings.key("inversion"), lambda n=vectors: try_inversion(witness, sources, n, settings)  # type: ignore[misc]
    if "finetune" in settings.attacks:
        few = sources[: settings.finetune_sources]
        yield "finetune", settings.key("finetune"), lambda: try_finetuning(witness, few, settings)


def _sources(witness: Witness, count: int) -> Generator[float, None, Tensor]:
    """Return pictures (n, c, h, w) of the concept by the untouched model: those of ``count`` in which it is seen."""
    shots = takes(witness.templates, count)
    pictures = [(fill(template, witness.concept), seed) for template, seed in shots]
    latents = yield from relayed(witness.album.draw(pictures, "attacks"), lambda share: share / 2)
    asked = [(picture, witness.query(template)) for picture, (template, _) in zip(pictures, shots, strict=True)]
    scores = yield from relayed(witness.album.score_steps(asked, "attacks"), lambda share: (1 + share) / 2)
    seen = [i for i, score in enumerate(scores) if witness.scale.shows(score)]
    return latents[seen or slice(None)]
