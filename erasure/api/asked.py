"""From a request's body to a job; all problems are reported at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from erasure.config.presets import preset
from erasure.config.settings import EraseConfig
from erasure.errors import ConfigError, shown
from erasure.host.always_on import Rule, make_rule, with_rule
from erasure.host.base import Host
from erasure.host.data_folder import DataFolder
from erasure.jobs.baking import BakeRequest
from erasure.jobs.combining import CombineRequest
from erasure.jobs.job import JobRequest
from erasure.jobs.lora_files import lora_file
from erasure.jobs.manager import JobManager
from erasure.jobs.measuring import MeasureRequest
from erasure.jobs.order import Wanted, asked_settings, find_checkpoint, read_order, start_problems
from erasure.jobs.uploading import UploadRequest
from erasure.share.order import ShareOrder, share_order

_TEXTS = {
    "checkpoint": "must be a text, the title of a checkpoint",
    "name": "must be a text, the name of the LoRA",
    "preset": "must be a text, the name of a preset",
    "quality": "must be a text, the name of a quality",
}

_LISTED, _LONGEST = 20, 60  # unknown fields, and characters of one
_MOST_LORAS = 50  # in one file, or always on
_SHARED_TEXTS = ("license", "base_model", "author")
_SHARED_CHOICES = ("unsafe_pictures", "overwrite")
_MEASURED = ("erase", "synonym", "preserve", "templates")


def unknown_fields(body: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """Return one problem for every unknown field."""
    problems = []
    unknown = sorted(set(body) - set(known))
    for name in unknown[:_LISTED]:
        close = get_close_matches(name[:_LONGEST], known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known)) or 'none here'}"
        problems.append(f"there is no field {shown(name)}; {hint}")
    if len(unknown) > _LISTED:
        problems.append(f"there are {len(unknown) - _LISTED} more fields that do not exist")
    return problems


def asked_job(host: Host, body: Mapping[str, Any], coming: Collection[str] = ()) -> JobRequest:
    """Return the job that a body asks for.

    ``coming``: the names of LoRAs that jobs are about to make. Raises: ConfigError with every problem.
    """
    wanted, problems = _wanted(body, ("checkpoint", "name", "preset", "quality", "config"))
    order = read_order(host, wanted, coming)
    if problems or order.problems:
        raise ConfigError([*problems, *start_problems(host, order)])
    return order.request()


def asked_concepts(host: Host, body: Mapping[str, Any]) -> tuple[Path, EraseConfig]:
    """Return the checkpoint and config whose concepts are wanted. Raises: ConfigError with every problem."""
    wanted, problems = _wanted(body, ("checkpoint", "preset", "config"))
    order = read_order(host, wanted)
    if problems:
        raise ConfigError([*problems, *order.problems])
    request = order.request()
    return request.checkpoint, request.config


def asked_measurement(host: Host, body: Mapping[str, Any]) -> MeasureRequest:
    """Return the measurement that a body asks for. Raises: ConfigError with every problem of its names."""
    wanted, problems = _wanted(body, ("checkpoint", "preset"), ("lora", "weight", *_MEASURED))
    checkpoint, missing = find_checkpoint(host, wanted.checkpoint)
    problems += missing
    usual = None
    lora, unknown = _lora_of(host, body)
    problems += unknown
    try:
        if wanted.preset is not None:
            usual = preset(wanted.preset, DataFolder(host.data_folder()).presets).settings
    except ConfigError as error:
        problems += error.problems
    if problems or lora is None or checkpoint is None:
        raise ConfigError(problems)
    given = {field: body[field] for field in _MEASURED if field in body}
    weight = body.get("weight")
    return MeasureRequest(checkpoint.path, lora, given, 1.0 if weight is None else weight, usual)


def asked_bake(host: Host, body: Mapping[str, Any]) -> BakeRequest:
    """Return the bake that a body asks for. Raises: ConfigError with every problem of its names."""
    wanted, problems = _wanted(body, ("checkpoint", "name"), ("loras",))
    checkpoint, missing = find_checkpoint(host, wanted.checkpoint)
    problems += missing
    loras, unknown = _loras_of(host, body)
    problems += unknown
    if wanted.name is None:
        problems.append("name: missing; must be a text, the name of the new checkpoint")
    if problems or checkpoint is None or wanted.name is None:
        raise ConfigError(problems)
    return BakeRequest(checkpoint.path, loras, wanted.name)


def asked_rules(body: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Return the LoRAs that a body wants always on. Raises: ConfigError with every problem."""
    problems = unknown_fields(body, ("rules",))
    listed = body.get("rules")
    if not isinstance(listed, list) or len(listed) > _MOST_LORAS:
        what = "names, or of objects with lora, weight and checkpoint"
        problems.append(f"rules: must be a list of at most {_MOST_LORAS} {what}; [] for none")
        listed = []
    rules: tuple[Rule, ...] = ()
    for each in listed:
        one = each if isinstance(each, Mapping) else {"lora": each}
        problems += unknown_fields(one, ("lora", "weight", "checkpoint"))
        try:
            rules = with_rule(rules, make_rule(one.get("lora"), one.get("weight"), one.get("checkpoint")))
        except ConfigError as error:
            problems += [f"rules: {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(list(dict.fromkeys(problems))[:_LISTED])
    return rules


def asked_combination(host: Host, body: Mapping[str, Any]) -> CombineRequest:
    """Return the combination that a body asks for. Raises: ConfigError with every problem of its names."""
    wanted, problems = _wanted(body, ("name", "checkpoint"), ("loras", "rank", "erase", "preserve", "pictures"))
    drawn = body.get("pictures", False)
    if not isinstance(drawn, bool):
        problems.append("pictures: must be true or false")
    checkpoint, missing = find_checkpoint(host, wanted.checkpoint) if drawn else (None, [])
    problems += missing
    loras, unknown = _loras_of(host, body)
    problems += unknown
    texts, wrong = _concepts_of(body)
    problems += wrong
    if problems:
        raise ConfigError(problems)
    return CombineRequest(
        loras,
        wanted.name or "",
        _rank_of(body),
        texts["erase"],
        texts["preserve"],
        checkpoint=None if checkpoint is None else checkpoint.path,
    )


def asked_refinement(host: Host, body: Mapping[str, Any]) -> tuple[CombineRequest, Path, Any]:
    """Return what a job is to start from, on which checkpoint, and the rows that it may take.

    Raises: ConfigError with every problem of its names.
    """
    wanted, problems = _wanted(body, ("checkpoint", "name", "config"), ("loras", "rank", "rows"))
    checkpoint, missing = find_checkpoint(host, wanted.checkpoint)
    loras, unknown = _loras_of(host, body)
    given, wrong = asked_settings(host, wanted)
    problems += [*missing, *unknown, *wrong]
    texts, wrong = _concepts_of(given)
    problems += wrong
    if problems or checkpoint is None:
        raise ConfigError(problems)
    others = {name: value for name, value in given.items() if name not in texts}
    request = CombineRequest(loras, wanted.name or "", _rank_of(body), texts["erase"], texts["preserve"], others)
    return request, checkpoint.path, body.get("rows")


def asked_check(host: Host, body: Mapping[str, Any]) -> tuple[Path | None, Path]:
    """Return the LoRA file, None if it names none, and the checkpoint that a body names.

    Raises: ConfigError with every problem."""
    wanted, problems = _wanted(body, ("checkpoint",), ("lora",))
    checkpoint, missing = find_checkpoint(host, wanted.checkpoint)
    lora, unknown = _lora_of(host, body) if body.get("lora") is not None else (None, [])
    problems += [*missing, *unknown]
    if problems or checkpoint is None:
        raise ConfigError(problems)
    return lora, checkpoint.path


def asked_share(host: Host, manager: JobManager, body: Mapping[str, Any]) -> tuple[ShareOrder, bool]:
    """Return what a body asks to share, and whether to overwrite. Raises: ConfigError with every problem."""
    problems = unknown_fields(body, ("lora", *_SHARED_TEXTS, *_SHARED_CHOICES, "erase"))
    texts = {name: body.get(name) for name in _SHARED_TEXTS}
    problems += [f"{name}: must be a text" for name, value in texts.items() if not isinstance(value, (str, type(None)))]
    choices = {name: body.get(name, False) for name in _SHARED_CHOICES}
    problems += [f"{name}: must be true or false" for name, value in choices.items() if not isinstance(value, bool)]
    erase, wrong = _texts_of(body, "erase")
    problems += wrong
    lora, unknown = _lora_of(host, body)
    problems += unknown
    if problems or lora is None:
        raise ConfigError(problems)
    order = share_order(
        lora,
        texts["license"],
        base_model=texts["base_model"],
        author=texts["author"],
        erase=erase,
        run=manager.run_of(lora),
        unsafe_pictures=choices["unsafe_pictures"],
    )
    return order, choices["overwrite"]


def asked_upload(body: Mapping[str, Any]) -> UploadRequest:
    """Return what a body would like to upload. Raises: ConfigError with every problem."""
    problems = unknown_fields(body, ("lora", "repo", "public", "overwrite"))
    texts = {name: body.get(name) for name in ("lora", "repo")}
    problems += [f"{name}: missing; must be a text" for name, value in texts.items() if not isinstance(value, str)]
    choices = {name: body.get(name, False) for name in ("public", "overwrite")}
    problems += [f"{name}: must be true or false" for name, value in choices.items() if not isinstance(value, bool)]
    if problems:
        raise ConfigError(problems)
    return UploadRequest(str(texts["lora"]), str(texts["repo"]), **choices)


def asked_confirmation(body: Mapping[str, Any]) -> str:
    """Return what a body confirms. Raises: ConfigError."""
    problems, confirm = unknown_fields(body, ("confirm",)), body.get("confirm")
    if not isinstance(confirm, str):
        problems.append("confirm: missing; must be the text that POST /upload/offer answers with")
    if problems:
        raise ConfigError(problems)
    return str(confirm)


def _loras_of(host: Host, body: Mapping[str, Any]) -> tuple[list[tuple[Path, Any]], list[str]]:
    """Return the files of the Lora folder that a body lists, with their weights, and what is wrong with the list."""
    listed, loras, problems = body.get("loras"), [], []
    if not isinstance(listed, list) or not listed or len(listed) > _MOST_LORAS:
        return [], [f"loras: must be a list of 1 to {_MOST_LORAS} names, or of objects with lora and weight"]
    for each in listed:
        one = each if isinstance(each, Mapping) else {"lora": each}
        weight = one.get("weight")
        file, unknown = _lora_of(host, one)
        problems += [*unknown_fields(one, ("lora", "weight")), *unknown]
        if file is not None:
            loras.append((file, 1.0 if weight is None else weight))
    return loras, problems


def _concepts_of(body: Mapping[str, Any]) -> tuple[dict[str, list[str]], list[str]]:
    """Return the concepts that are to be erased and preserved besides, and what is wrong with them."""
    found = {name: _texts_of(body, name) for name in ("erase", "preserve")}
    return {name: texts for name, (texts, _) in found.items()}, [line for _, wrong in found.values() for line in wrong]


def _texts_of(body: Mapping[str, Any], name: str) -> tuple[list[str], list[str]]:
    texts = body.get(name) or []
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, (list, tuple)) or not all(isinstance(text, str) for text in texts):
        return [], [f"{name}: must be a text or a list of texts"]
    return list(texts), []


def _rank_of(body: Mapping[str, Any]) -> Any:
    rank = body.get("rank")
    return 0 if rank is None else rank


def _lora_of(host: Host, body: Mapping[str, Any]) -> tuple[Path | None, list[str]]:
    """Return the file of the Lora folder that a body names, or why there is none."""
    name = body.get("lora")
    try:
        return lora_file(host.lora_folder(), name if isinstance(name, str) else ""), []
    except ConfigError as error:
        return None, list(error.problems)


def _wanted(body: Mapping[str, Any], known: Collection[str], others: Collection[str] = ()) -> tuple[Wanted, list[str]]:
    """Return what can be read of the body, and a problem for every field that cannot; ``others`` are not read here."""
    problems = unknown_fields(body, (*known, *others))
    texts: dict[str, str] = {}
    for name in known:
        value = body.get(name)
        if name in _TEXTS and isinstance(value, str):
            texts[name] = value
        elif name in _TEXTS and value is not None:
            problems.append(f"{name}: {_TEXTS[name]}")
    config = body.get("config")
    if config is not None and not isinstance(config, Mapping):
        problems.append("config: must be an object, setting -> value")
    return Wanted(**texts, settings=config if isinstance(config, Mapping) else {}), problems
