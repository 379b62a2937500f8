"""The stand-in for the web UI has nothing that the real one lacks: modules, names, methods and parameters."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from erasure.host.program import unsupported
from tests.webui import FAKE

# Ours, to look at what happened; and where the real one keeps a name elsewhere.
_ADDED = {
    "devices": {"collected"},
    "restart": {"ended"},
    "sd_vae": {"asked", "chosen"},
    "script_callbacks": {"failures", "clear_callbacks"},
    # The second is set after the fields there.
    "processing": {"StableDiffusionProcessing.closed", "StableDiffusionProcessing.refiner_checkpoint_info"},
}
_ELSEWHERE = {"sd_models": {"Model"}}  # ldm's LatentDiffusion there
# Called with its first argument by position alone: reForge gives it another name.
_BY_POSITION = {"sd_models.unload_model_weights"}


def names(tree: ast.Module) -> dict[str, list[str] | None]:
    """Return public functions and methods with their parameters; classes and module variables with None."""
    found: dict[str, list[str] | None] = {}

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                found[prefix + node.name] = [argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)]
            elif isinstance(node, ast.ClassDef):
                found[prefix + node.name] = None
                collect(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, (ast.Assign, ast.AnnAssign)):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    if isinstance(target, ast.Name):
                        found[prefix + target.id] = None

    collect(tree.body, "")
    return {name: about for name, about in found.items() if not name.split(".")[-1].startswith("_")}


@pytest.mark.parametrize("path", sorted((FAKE / "modules").glob("*.py")), ids=lambda path: path.stem)
def test_the_real_web_ui_has_all_of_it(source: Path, path: Path) -> None:
    if line := unsupported(source):
        pytest.skip(line)
    real_path = source / "modules" / path.name
    assert real_path.exists() or path.name == "__init__.py"
    if path.name == "__init__.py":
        return
    ours = names(ast.parse(path.read_text(encoding="utf-8")))
    real = names(ast.parse(real_path.read_text(encoding="utf-8")))
    # Fields of a dataclass in the real one may be inherited.
    inherited = {name.split(".")[-1] for name in real}
    skipped = _ADDED.get(path.stem, set()) | _ELSEWHERE.get(path.stem, set())
    for name, parameters in ours.items():
        if name in skipped or name.split(".")[0] in skipped:
            continue
        assert name in real or name.split(".")[-1] in inherited, f"{path.stem}.{name} is not there"
        theirs = real.get(name)
        if parameters and theirs and f"{path.stem}.{name}" in _BY_POSITION:
            continue
        if parameters is not None and theirs is not None:
            assert parameters == theirs[: len(parameters)], f"{path.stem}.{name} takes {theirs}"
