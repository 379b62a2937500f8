from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor

from erasure.config.methods import METHODS, Method
from erasure.config.presets import preset, presets
from erasure.config.settings import EraseConfig
from erasure.config.values import config_from_dict
from erasure.errors import ConfigError
from erasure.lora.adapter import inject_lora, lora_layers, lora_parameters, lora_state
from erasure.lora.file import read_lora
from erasure.lora.fit import match_lora
from erasure.lora.layer_choice import layer_shapes
from erasure.model.checkpoint import inspect_checkpoint
from erasure.model.cross_attention import watched_cross_attention
from erasure.model.loading import load_parts
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.run.beginning import erase, resume
from erasure.run.events import Saved
from erasure.run.folder import RunFolder
from erasure.run.task import Task
from erasure.training.events import Step
from erasure.training.latents.noised_latents import NoiseLatents, PictureLatents
from erasure.training.latents.source import LatentState
from erasure.training.solver import solver
from erasure.training.trainer import Trainer
from tests.spaces import WORDS, space_of
from tests.updates import updates

pytestmark = pytest.mark.slow

FAST = {"steps": 6, "sampling_steps": 3, "warmup": 0, "rank": 2, "alpha": 8.0, "schedule": "constant", "clip": 0.0}
COMPARED = [name for name in get_args(Method) if name != "adversarial"]
CLOSED_FORMS = [name for name in COMPARED if METHODS[name].closed_form]
TRAINED = [name for name in COMPARED if name not in CLOSED_FORMS]


def _config(method: str, *targets: str, **settings: object) -> EraseConfig:
    return config_from_dict({"erase": list(targets), "method": method, **FAST, **settings})


def _trainer(models: ModelParts, config: EraseConfig, anchor: str = "") -> Trainer:
    inject_lora(models.unet, config.layers, config.rank, config.alpha, config.seed)
    space = space_of(*config.erase, anchor=anchor)
    trainer = solver(Model(models, resolution=config.resolution), space, config)
    assert isinstance(trainer, Trainer)
    return trainer


def _shake(models: ModelParts) -> None:
    """LoRA weights as in the middle of a training."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in lora_parameters(models.unet):
            weight.copy_(0.1 * torch.randn(weight.shape, generator=g))


class _GivenStates:
    """Gives states by the number of the call, whatever is asked, and remembers what was."""

    def __init__(self, *, noised: bool = False) -> None:
        self.asked: list[list[str]] = []
        self._noised = noised

    def draw(self, prompts, generator, *, tuned, early=False):  # type: ignore[no-untyped-def]
        self.asked.append([prompt.text for prompt in prompts])
        return [self.state(len(self.asked)) for _ in prompts]

    def state(self, call: int) -> LatentState:
        g = torch.Generator().manual_seed(call)
        z, noise = torch.randn((4, 16, 16), generator=g), torch.randn((4, 16, 16), generator=g)
        return LatentState(z, int(torch.randint(1000, (), generator=g)), noise if self._noised else None)


class _Eps:
    """eps_theta'(z_t, t, c), and eps_theta, one row at a time."""

    def __init__(self, model: Model):
        self._model = model

    def tuned(self, state: LatentState, text: str) -> Tensor:
        c = self._model.embed([text]).states
        sample: Tensor = self._model.unet(state.z[None], torch.tensor([state.t]), encoder_hidden_states=c).sample
        return sample[0]

    def frozen(self, state: LatentState, text: str) -> Tensor:
        with torch.no_grad(), self._model.frozen():
            return self.tuned(state, text)


def _mse(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().mean()


def _update_is(models: ModelParts, trainer: Trainer, losses: Callable[[_Eps], tuple[Tensor, Tensor]]) -> Step:
    """The trainer's next update is one of Adam on L1 + L2, both of which it reports."""
    weights = lora_parameters(models.unet)
    before = [w.detach().clone() for w in weights]
    l1, l2 = losses(_Eps(trainer.model))
    # Attention does not depend on what the last layer makes of it.
    gradients = torch.autograd.grad(l1 + trainer.config.preserve_weight * l2, weights, materialize_grads=True)
    step = trainer.update()
    assert step.erase_loss == pytest.approx(l1.item(), abs=1e-5)
    assert step.preserve_loss == pytest.approx(l2.item(), abs=1e-5)
    assert max(float(g.abs().max()) for g in gradients) > 1e-5
    for found, old, gradient in zip(weights, before, gradients, strict=True):
        # Adam's first step is lr g / (|g| + eps): where g is rounding noise, so is the step.
        sure = gradient.abs() > 1e-6
        wanted = old - step.learning_rate * gradient / (gradient.abs() + 1e-8)
        torch.testing.assert_close(found[sure], wanted[sure], atol=1e-5, rtol=0)
    return step


# --- one step of each, written out


@pytest.mark.parametrize("method", ["esd-x", "esd-u"])
def test_an_esd_update_pushes_past_the_empty_prompt_and_preserves_nothing(tiny_models: ModelParts, method: str) -> None:
    trainer = _trainer(tiny_models, _config(method, "church", guidance=1.5))
    _shake(tiny_models)
    trainer.source = given = _GivenStates()  # type: ignore[assignment]
    s = given.state(1)

    def losses(eps: _Eps) -> tuple[Tensor, Tensor]:
        goal = eps.frozen(s, "") - 1.5 * (eps.frozen(s, "church") - eps.frozen(s, ""))
        return _mse(eps.tuned(s, "church"), goal), torch.zeros(())

    step = _update_is(tiny_models, trainer, losses)
    assert step.preserved == ()
    names = set(lora_layers(tiny_models.unet))
    assert all((".attn2." in name) == (method == "esd-x") for name in names)


@pytest.mark.parametrize(("preserve", "kept"), [((), ""), (("castle",), "castle")])
def test_a_fixed_update_preserves_always_the_same(
    tiny_models: ModelParts, preserve: tuple[str, ...], kept: str
) -> None:
    trainer = _trainer(tiny_models, _config("fixed", "church", preserve=list(preserve), preserve_weight=0.7))
    _shake(tiny_models)
    trainer.source = given = _GivenStates()  # type: ignore[assignment]
    e, p = given.state(1), given.state(2)

    def losses(eps: _Eps) -> tuple[Tensor, Tensor]:
        goal = eps.frozen(e, "") - (eps.frozen(e, "church") - eps.frozen(e, ""))
        return _mse(eps.tuned(e, "church"), goal), _mse(eps.tuned(p, kept), eps.frozen(p, kept))

    assert _update_is(tiny_models, trainer, losses).preserved == (kept,)


def test_a_leco_update_takes_the_direction_from_the_empty_prompt(tiny_models: ModelParts) -> None:
    config = _config("leco", "church", anchor=["tower"], guidance=2.0)
    trainer = _trainer(tiny_models, config, anchor="tower")
    _shake(tiny_models)
    trainer.source = given = _GivenStates()  # type: ignore[assignment]
    s = given.state(1)

    def losses(eps: _Eps) -> tuple[Tensor, Tensor]:
        goal = eps.frozen(s, "tower") - 2.0 * (eps.frozen(s, "church") - eps.frozen(s, ""))
        return _mse(eps.tuned(s, "church"), goal), torch.zeros(())

    _update_is(tiny_models, trainer, losses)


def test_a_concept_ablation_update_is_on_the_anchors_pictures_and_their_noise(tiny_models: ModelParts) -> None:
    trainer = _trainer(tiny_models, _config("concept-ablation", "church", anchor=["tower"]), anchor="tower")
    _shake(tiny_models)
    trainer.source = given = _GivenStates(noised=True)  # type: ignore[assignment]
    e, p = given.state(1), given.state(2)

    def losses(eps: _Eps) -> tuple[Tensor, Tensor]:
        assert p.eps is not None
        return _mse(eps.tuned(e, "church"), eps.frozen(e, "tower")), _mse(eps.tuned(p, "tower"), p.eps)

    step = _update_is(tiny_models, trainer, losses)
    assert given.asked == [["tower"], ["tower"]]
    assert step.preserved == ("tower",)


def test_an_instant_leco_update_is_on_bare_noise_at_any_timestep(tiny_models: ModelParts) -> None:
    trainer = _trainer(tiny_models, _config("instant-leco", "church", loss_space="min_snr", batch=2, resolution=128))
    _shake(tiny_models)
    g = torch.Generator().manual_seed(trainer.config.seed * 1_000_003)
    for _ in range(2):  # which targets
        torch.randperm(1, generator=g)
    torch.randint(1, (), generator=g)  # which template
    at = [int(torch.randint(1000, (), generator=g)) for _ in range(2)]
    noises = [state.z for state in trainer.source.draw([trainer.model.prompt("x")] * 2, g, tuned=False)]

    def losses(eps: _Eps) -> tuple[Tensor, Tensor]:
        rows = []
        for z, t in zip(noises, at, strict=True):
            s, alpha_bar = LatentState(z, t), tiny_models.alphas_cumprod[t]
            snr = alpha_bar / (1 - alpha_bar)
            rows.append((5 / snr).clamp(max=1.0) * _mse(eps.tuned(s, "church"), eps.frozen(s, "")))
        return torch.stack(rows).mean(), torch.zeros(())

    step = _update_is(tiny_models, trainer, losses)
    assert step.rows == 4  # two frozen, two tuned: nothing is sampled


def _published_maps(model: Model, state: LatentState, text: str) -> list[Tensor]:
    """The attention maps (heads, positions, tokens) of every cross-attention layer, by diffusers' own slow kernel."""
    maps: list[Tensor] = []

    class Remembering(AttnProcessor):  # type: ignore[misc]
        def __call__(self, attn: Attention, *inputs: Any, **more: Any) -> Tensor:
            scores = attn.get_attention_scores

            def remembered(*given: Tensor) -> Tensor:
                maps.append(scores(*given))
                return maps[-1]

            attn.get_attention_scores = remembered
            output: Tensor = super().__call__(attn, *inputs, **more)
            del attn.get_attention_scores
            return output

    kernels = model.unet.attn_processors
    model.unet.set_attn_processor(
        {name: Remembering() if ".attn2." in name else kernel for name, kernel in kernels.items()}
    )
    _Eps(model).tuned(state, text)
    model.unet.set_attn_processor(kernels)
    return maps


@pytest.mark.parametrize(
    ("target", "template", "places"),
    [("church", "{}", [1, 2]), ("garbage truck", "a picture of a {} in the snow", [5, 6, 10])],
)
def test_a_forget_me_not_update_lowers_the_attention_to_the_concept_and_the_end_of_its_prompt(
    tiny_models: ModelParts, target: str, template: str, places: list[int]
) -> None:
    trainer = _trainer(tiny_models, _config("forget-me-not", target, "radio", templates=[template]))
    _shake(tiny_models)
    trainer.source = given = _GivenStates()  # type: ignore[assignment]
    trainer.draws.targets = lambda generator, among: ([0], template)  # type: ignore[method-assign]
    s = given.state(1)

    def losses(eps: _Eps) -> tuple[Tensor, Tensor]:
        maps = _published_maps(trainer.model, s, template.replace("{}", target))
        assert len(maps) == 10
        return torch.stack([m[..., places].square().mean() for m in maps]).mean(), torch.zeros(())

    step = _update_is(tiny_models, trainer, losses)
    assert given.asked == [[template.replace("{}", target)]]
    assert (step.preserved, step.rows) == ((), 1)


def test_attention_is_watched_without_a_trace(tiny_models: ModelParts) -> None:
    trainer = _trainer(tiny_models, _config("forget-me-not", "church", "radio", batch=2))
    kernels = tiny_models.unet.attn_processors
    losses = [step.erase_loss for step in updates(trainer)]
    assert losses[-1] < losses[0]
    assert tiny_models.unet.attn_processors == kernels
    assert not any(module._forward_hooks for module in tiny_models.unet.modules())
    with pytest.raises(ValueError, match="call it first"), watched_cross_attention(tiny_models.unet) as layers:
        layers[0].map()


def test_attention_is_lowered_with_gradient_checkpointing_as_without(tiny_models: ModelParts) -> None:
    other, config = copy.deepcopy(tiny_models), _config("forget-me-not", "church", steps=2, sampling_steps=2)
    plain, checkpointed = _trainer(tiny_models, config), _trainer(other, config)
    other.unet.enable_gradient_checkpointing()
    other.unet.train()
    first, second = updates(plain), updates(checkpointed)
    assert second[-1].erase_loss == pytest.approx(first[-1].erase_loss, rel=1e-4)
    found = lora_state(other.unet)
    for name, weight in lora_state(tiny_models.unet).items():
        torch.testing.assert_close(weight, found[name], atol=2e-4, rtol=1e-2)


# --- latents


def _tuned(models: ModelParts) -> Model:
    inject_lora(models.unet, "xattn", 2, 2.0, seed=0)
    _shake(models)
    return Model(models)


def test_bare_noise_is_always_the_same_and_costs_nothing(tiny_models: ModelParts) -> None:
    model, config = _tuned(tiny_models), _config("instant-leco", "church")
    prompts = [model.prompt(text) for text in ("church", "dog")]
    g = torch.Generator().manual_seed(0)
    draws = [NoiseLatents(model, config).draw(prompts, g, tuned=True) for _ in range(20)]
    assert all(torch.equal(a.z, b.z) for draw in draws for a, b in zip(draw, draws[0], strict=True))
    assert not torch.equal(draws[0][0].z, draws[0][1].z)
    assert len({state.t for draw in draws for state in draw}) > 30
    assert model.rows.all.total == 0


def test_pictures_are_the_frozen_models_with_noise_on_them(tiny_models: ModelParts) -> None:
    model = _tuned(tiny_models)
    source = PictureLatents(model, _config("concept-ablation", "church", reuse=2))
    prompt = model.prompt("tower")
    draws = [source.draw([prompt], torch.Generator().manual_seed(i), tuned=True)[0] for i in (5, 6, 7)]
    assert model.rows.all.total == 2 * (2 * 3)  # the third draw needs a second picture
    g = torch.Generator().manual_seed(5)
    with model.frozen():
        noise = torch.randn((4, 8, 8), generator=g)[None]
        x0 = model.sample(prompt.conditioning, noise, steps=3, guidance=3.0)[0]
    for state in draws[:2]:
        assert state.eps is not None
        alpha_bar = tiny_models.alphas_cumprod[state.t]
        wanted = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * state.eps
        torch.testing.assert_close(state.z, wanted, atol=5e-3, rtol=5e-3)  # kept in fp16


@pytest.mark.parametrize("method", TRAINED)
def test_stop_then_resume_gives_the_same_weights(tiny_models: ModelParts, method: str) -> None:
    other, config = copy.deepcopy(tiny_models), _config(method, "church", "radio", steps=4)
    whole = _trainer(tiny_models, config)
    whole.update(), whole.update()
    tensors, meta = whole.tensors(), whole.meta()
    list(whole)
    resumed = _trainer(other, config)
    resumed.load(tensors, meta)
    assert [step.step for step in updates(resumed)] == [3, 4]
    found = lora_state(other.unet)
    assert all(torch.equal(weight, found[name]) for name, weight in lora_state(tiny_models.unet).items())


# --- from checkpoint to file


@pytest.mark.usefixtures("quick_pictures")
@pytest.mark.parametrize("method", COMPARED)
def test_every_method_ends_in_a_lora_file_that_works(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    if method in CLOSED_FORMS:  # a random model hardly looks at its prompt, and they edit only what it sees of it
        monkeypatch.setattr("erasure.run.finish.SMALLEST_CHANGE", 0.1)
    (tmp_path / "words.txt").write_text("\n".join(WORDS))
    settings = {
        "vocabulary": "file",
        "vocabulary_file": str(tmp_path / "words.txt"),
        "neighbours": 4,
        "steps": 3,
        "learning_rate": 0.05,
        "rank": 8,
    }
    config = _config(method, "church", **{**settings, "alpha": 8.0 if method in CLOSED_FORMS else 64.0})
    out, folder = tmp_path / "gone.safetensors", RunFolder(tmp_path / "run")
    events = list(erase(Task(tiny_checkpoint, out, folder, config)))
    steps = [event for event in events if isinstance(event, Step)]
    assert [step.step for step in steps] == list(range(1, config.updates + 1))
    assert isinstance(events[-1], Saved)
    assert events[-1].final
    file = read_lora(out)
    match_lora(
        file, layer_shapes(load_parts(inspect_checkpoint(tiny_checkpoint), device="cpu", dtype=torch.float32).unet)
    )
    assert f'"method": "{method}"' in file.metadata["adversarial_erase"]
    if method in CLOSED_FORMS:  # resumed when all is done, it writes the same file again
        again = tmp_path / "again.safetensors"
        list(resume(folder, out=again))
        assert all(torch.equal(tensor, read_lora(again).state[name]) for name, tensor in file.state.items())


# --- settings


def test_a_method_decides_its_settings() -> None:
    assert set(METHODS) == set(get_args(Method))
    assert _config("esd-u", "church").layers == "noxattn"
    assert _config("uce", "church").updates == 1
    assert _config("time", "church").layers == "xattn_kv"
    speed = _config("speed", "church")
    assert (speed.layers, speed.adversary, speed.updates) == ("xattn_v", "whole", 1)
    assert _config("instant-leco", "church").latents == "noise"
    forgotten = _config("forget-me-not", "church", anchor=["tower"], preserve_weight=2.0)
    assert (forgotten.latents, forgotten.layers, forgotten.anchor) == ("pictures", "xattn", ())
    assert forgotten.preserve_weight == 0
    assert not _config("esd-x", "church", synonym_threshold=0.3).erase_synonyms
    config = _config("concept-ablation", "church")
    assert config_from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"method": "esd-u", "layers": "full"}, "layers: 'full' does not go with method esd-u, which needs 'noxattn'"),
        (
            {"method": "esd-u", "layers": "xattn"},
            "layers: 'xattn' does not go with method esd-u, which needs 'noxattn'",
        ),
        ({"method": "uce", "adversary": "gumbel"}, "which needs 'none' or 'whole'"),
        ({"method": "instant-leco", "latents": "fresh"}, "latents: 'fresh' does not go with"),
        ({"method": "uce", "adversary": "pgd"}, "which needs 'none' or 'whole'"),
        ({"method": "leco", "preserve": ["castle"]}, "preserve: method leco cannot preserve named concepts"),
        ({"method": "forget"}, "method: 'forget' is not one of adversarial"),
        ({"method": "time", "preserve": ["castle"]}, "preserve: method time cannot preserve named concepts"),
        ({"method": "speed", "layers": "xattn_kv"}, "which needs 'xattn_v'"),
        ({"latents": "pictures"}, "is only for methods concept-ablation, forget-me-not"),
        ({"method": "forget-me-not", "layers": "xattn_kv"}, "which needs 'xattn'"),
        ({"method": "forget-me-not", "preserve": ["castle"]}, "forget-me-not cannot preserve named concepts"),
        ({"adversary": "whole"}, "is only for methods uce, speed"),
    ],
)
def test_what_does_not_go_with_a_method_is_refused(settings: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config_from_dict({"erase": ["church"], **settings})
    assert problem in str(raised.value)
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize("method", COMPARED)
def test_every_published_method_has_a_preset(method: str) -> None:
    if method == "fixed":
        assert "published-fixed" not in presets()
        return
    settings = preset(f"published-{method}").settings
    config = config_from_dict({"erase": ["church"], **settings})
    assert config.method == method
    assert all(getattr(config, name) == value for name, value in settings.items() if not isinstance(value, list))
