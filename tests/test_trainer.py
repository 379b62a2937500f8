from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from erasure.config.presets import preset
from erasure.config.settle import with_changes
from erasure.config.values import config_from_dict, erase_config
from erasure.errors import NonFiniteLoss
from erasure.lora.adapter import inject_lora, lora_parameters, lora_state
from erasure.model.model import Model
from erasure.model.parts import ModelParts
from erasure.training.adversary.gumbel import GumbelSearch, gumbel_softmax
from erasure.training.concept_draws import ConceptDraws
from erasure.training.gradient_scale import gradient_scaler
from erasure.training.latents.source import LatentState
from erasure.training.row_count import rows_per_update
from erasure.training.trainer import Trainer, learning_rate
from tests.spaces import WORDS, space_of
from tests.updates import updates

pytestmark = pytest.mark.slow

FAST = {"steps": 6, "sampling_steps": 3, "warmup": 0, "rank": 2}


def _trainer(models: ModelParts, *targets: str, **settings: object) -> Trainer:
    config = config_from_dict({"erase": list(targets), **FAST, **settings})
    inject_lora(models.unet, config.layers, config.rank, config.alpha, config.seed)
    if config.gradient_checkpointing:
        models.unet.enable_gradient_checkpointing()
        models.unet.train()
    return Trainer(Model(models, resolution=config.resolution), space_of(*targets), config)


def _shake(models: ModelParts) -> None:
    """LoRA weights as in the middle of a training."""
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in lora_parameters(models.unet):
            weight.copy_(0.1 * torch.randn(weight.shape, generator=g))


class _GivenStates:
    """Gives the same states whatever is asked, and remembers what was.

    Twice the model's own size, where its lowest level is more than one pixel: a normalisation over single pixels
    would blow up the rounding by which calls of one row and of several differ.
    """

    def __init__(self) -> None:
        self.asked: list[list[Tensor]] = []

    def draw(self, prompts, generator, *, tuned, early=False):  # type: ignore[no-untyped-def]
        self.asked.append([prompt.conditioning.states.detach() for prompt in prompts])
        g = torch.Generator().manual_seed(len(self.asked))
        return [
            LatentState(torch.randn((4, 16, 16), generator=g), int(torch.randint(1000, (), generator=g)))
            for _ in prompts
        ]


def test_one_step_of_the_paper_preset_is_equation_5(tiny_models: ModelParts) -> None:
    paper = preset("paper").settings
    changes = {"learning_rate": 1e-3, "preserve_weight": 0.7, "rank": 2, "steps": 5}
    trainer = _trainer(tiny_models, "church", **{**paper, **changes})
    _shake(tiny_models)
    given = _GivenStates()
    trainer.source = given  # type: ignore[assignment]
    weights = lora_parameters(tiny_models.unet)
    before = [w.detach().clone() for w in weights]

    # --- Eq. 5 and the two algorithms, written out
    unet, model = tiny_models.unet, trainer.model

    def eps(z: Tensor, t: int, c: Tensor) -> Tensor:
        sample: Tensor = unet(z[None], torch.tensor([t]), encoder_hidden_states=c[None]).sample
        return sample[0]

    def states(call: int) -> tuple[Tensor, int]:
        g = torch.Generator().manual_seed(call)
        return torch.randn((4, 16, 16), generator=g), int(torch.randint(1000, (), generator=g))

    g = torch.Generator().manual_seed(0)
    torch.randperm(1, generator=g)  # which target: there is one
    torch.randint(1, (), generator=g)  # which template: there is one
    members = model.embed(WORDS).states
    pi = torch.zeros(len(WORDS), requires_grad=True)
    ascent = torch.optim.Adam([pi], lr=paper["search_rate"], maximize=True)
    for i in range(paper["search_steps"]):  # Algorithm 1
        c_a = (gumbel_softmax(pi, paper["temperature"], True, g)[:, None, None] * members).sum(0)
        z, t = states(i + 2)
        tuned = eps(z, t, c_a)
        with model.frozen():
            frozen = eps(z, t, c_a)
            through_frozen = torch.autograd.grad(
                frozen, pi, -2 * (tuned - frozen).detach() / frozen.numel(), retain_graph=True
            )[0]
        pi.grad = through_frozen + torch.autograd.grad(tuned, pi, 2 * (tuned - frozen).detach() / tuned.numel())[0]
        ascent.step()
    c_a = (gumbel_softmax(pi.detach(), paper["temperature"], True, g)[:, None, None] * members).sum(0)
    c_e, c_n = model.embed(["church", ""]).states
    (z_e, t_e), (z_a, t_a) = states(1), states(paper["search_steps"] + 2)
    with torch.no_grad(), model.frozen():
        goal, kept = eps(z_e, t_e, c_n), eps(z_a, t_a, c_a)
    l1 = (eps(z_e, t_e, c_e) - goal).square().mean()
    l2 = (eps(z_a, t_a, c_a) - kept).square().mean()
    gradients = torch.autograd.grad(l1 + 0.7 * l2, weights)  # Algorithm 2
    expected = [
        w - 1e-3 * (m / (1 - 0.9)) / ((v / (1 - 0.999)).sqrt() + 1e-8)
        for w, m, v in zip(before, [0.1 * d for d in gradients], [0.001 * d.square() for d in gradients], strict=True)
    ]
    # --- and the trainer's

    step = trainer.update()
    assert step.erase_loss == pytest.approx(l1.item(), abs=1e-5)
    assert step.preserve_loss == pytest.approx(l2.item(), abs=1e-5)
    assert isinstance(trainer.adversary, GumbelSearch)
    torch.testing.assert_close(trainer.adversary.logits[0], pi, atol=1e-5, rtol=0)
    for found, wanted, gradient in zip(weights, expected, gradients, strict=True):
        # Adam's first step is the gradient's sign: where that is rounding noise, so is the step.
        sure = gradient.abs() > 1e-6
        torch.testing.assert_close(found[sure], wanted[sure], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("adversary", "latents"), [("gumbel", "replay"), ("pgd", "replay"), ("uniform", "fresh")])
def test_stop_then_resume_gives_the_same_weights(tiny_models: ModelParts, adversary: str, latents: str) -> None:
    import copy

    other = copy.deepcopy(tiny_models)
    settings = {"adversary": adversary, "latents": latents, "preserve": ["castle"]}
    whole = _trainer(tiny_models, "church", "radio", **settings)
    for _ in range(3):
        whole.update()
    tensors, meta = whole.tensors(), whole.meta()
    list(whole)
    resumed = _trainer(other, "church", "radio", **settings)
    resumed.load(tensors, meta)
    steps = updates(resumed)
    assert [step.step for step in steps] == [4, 5, 6]
    assert resumed.model.rows["training"].total == whole.model.rows["training"].total
    for name, weight in lora_state(tiny_models.unet).items():
        assert torch.equal(weight, lora_state(other.unet)[name]), name


def test_erasing_moves_the_target_towards_the_anchor_and_keeps_the_preserved(tiny_models: ModelParts) -> None:
    settings = {
        "steps": 60,
        "learning_rate": 5e-3,
        "guidance": 0.0,
        "adversary": "uniform",
        "rank": 4,
        "batch": 2,
    }
    with torch.no_grad():
        for name, weight in tiny_models.unet.named_parameters():
            if "attn2.to_out.0.weight" in name:
                weight.mul_(30)  # a random model hardly listens to its text otherwise
    steps = updates(_trainer(tiny_models, "church", **settings))
    first, last = (sum(s.erase_loss for s in part) / 10 for part in (steps[:10], steps[-10:]))
    assert last < 0.7 * first
    assert max(s.preserve_loss for s in steps[-10:]) < first


@pytest.mark.parametrize(
    ("anchor", "template", "prompt"),
    [
        ("tower", "{}", "tower"),
        ("tower", "a hill[ by {}]", "a hill by tower"),
        ("", "a hill[ by {}]", "a hill"),
        ("", "a {}", ""),
    ],
)
def test_goals_are_the_anchor_in_its_template_and_what_is_preserved(
    tiny_models: ModelParts, anchor: str, template: str, prompt: str
) -> None:
    config = erase_config(erase=("church",), anchor=(anchor,), guidance=0.0, **FAST)
    inject_lora(tiny_models.unet, config.layers, config.rank, config.alpha, config.seed)
    model = Model(tiny_models)
    trainer = Trainer(model, space_of("church", anchor=anchor), config)
    state = LatentState(torch.randn((4, 16, 16), generator=torch.Generator().manual_seed(0)), 500)
    goal, *_ = trainer.frozen.goal(
        [model.prompt("church")], [trainer.draws.anchor(0, template)], [state], [model.prompt("dog")], [state]
    )
    with model.frozen(), torch.no_grad():
        expected = model.eps(state.z.expand(2, -1, -1, -1), torch.tensor([500, 500]), model.embed([prompt, "dog"]))
    torch.testing.assert_close(goal, expected)


@pytest.mark.parametrize("there", [True, False])
def test_preserved_concepts_are_met_where_the_tuned_model_goes_unless_told_otherwise(
    tiny_models: ModelParts, there: bool
) -> None:
    trainer = _trainer(tiny_models, "church", **({} if there else {"preserve_on_policy": False}))
    draw, asked = trainer.source.draw, {}

    def remembered(prompts, generator, *, tuned, early=False):  # type: ignore[no-untyped-def]
        asked.update({prompt.text: tuned for prompt in prompts})
        return draw(prompts, generator, tuned=tuned, early=early)

    trainer.source.draw = remembered  # type: ignore[method-assign]
    step = trainer.update()
    assert asked == {**dict.fromkeys(step.erased, True), **dict.fromkeys(step.preserved, there)}


def test_targets_are_all_erased(tiny_models: ModelParts) -> None:
    steps = updates(_trainer(tiny_models, "church", "radio", "dog", adversary="uniform"))
    assert {text for step in steps for text in step.erased} == {"church", "radio", "dog"}


def test_nonfinite_loss_stops_with_advice_and_keeps_the_last_weights(tiny_models: ModelParts) -> None:
    trainer = _trainer(tiny_models, "church", adversary="uniform")
    trainer.update()
    kept = lora_state(tiny_models.unet)
    trainer.model.parts.alphas_cumprod = torch.full((1000,), float("nan"))
    trainer.config = with_changes(trainer.config, loss_space="x0")
    with pytest.raises(NonFiniteLoss, match="learning_rate"):
        trainer.update()
    for name, weight in lora_state(tiny_models.unet).items():
        assert torch.equal(weight, kept[name])
    assert trainer.step == 1


@pytest.mark.parametrize("layers", ["xattn", "noxattn"])
def test_gradient_checkpointing_changes_memory_not_weights(tiny_models: ModelParts, layers: str) -> None:
    import copy

    other = copy.deepcopy(tiny_models)
    settings = {"layers": layers, "steps": 2}
    plain, checkpointed = (
        _trainer(tiny_models, "church", **settings),
        _trainer(other, "church", gradient_checkpointing=True, **settings),
    )
    list(plain), list(checkpointed)
    for name, weight in lora_state(tiny_models.unet).items():
        torch.testing.assert_close(weight, lora_state(other.unet)[name], atol=2e-4, rtol=1e-2)


def test_bf16_trains_fp32_lora_weights(tiny_models: ModelParts) -> None:
    tiny_models.unet.to(torch.bfloat16)
    trainer = _trainer(tiny_models, "church", precision="bf16")
    step = trainer.update()
    assert all(weight.dtype == torch.float32 for weight in lora_parameters(tiny_models.unet))
    assert step.erase_loss > 0


def test_learning_rate_warms_up_and_ends_at_zero() -> None:
    config = erase_config(erase=("x",), steps=100, warmup=10, learning_rate=1.0, schedule="cosine")
    rates = [learning_rate(step, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.01
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_reranking_costs_the_rows_that_the_plan_says(tiny_models: ModelParts) -> None:
    trainer = _trainer(tiny_models, "church", "truck", adversary="rerank", search_steps=1)
    config = trainer.config
    last = updates(trainer)[-1]
    assert last.preserve_loss > 0
    # Two candidates are measured per update, each by both views of the model.
    assert rows_per_update(config).total == rows_per_update(with_changes(config, adversary="uniform")).total + 4
    assert last.rows / config.updates == pytest.approx(rows_per_update(config, (len(WORDS),) * 2).total, abs=2)


def test_other_names_are_erased_more_often_while_only_they_are_left(tiny_models: ModelParts) -> None:
    shares = []
    space = space_of("church")
    space = replace(space, targets=(replace(space.targets[0], told=("basilica",)),))
    draws = ConceptDraws(Model(tiny_models), space, config_from_dict({"erase": ["church"], "synonym": ["basilica"]}))
    for left in (False, True):
        generator = torch.Generator().manual_seed(0)
        drawn = [draws.erased(0, "{}", generator, names_left=left).text for _ in range(200)]
        shares.append(drawn.count("basilica") / len(drawn))
    assert shares[0] < 0.35
    assert shares[1] > 0.65


def test_a_large_model_takes_the_rows_of_an_update_in_several_calls_and_learns_the_same(
    tiny_models: ModelParts, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"preserve": ["castle"], "rehearsed": 3, "start": "zero", "null_space": 0}
    config = config_from_dict({"erase": ["church"], **FAST, **settings})
    found = []
    for max_rows in (0, 8):
        models = copy.deepcopy(tiny_models)
        inject_lora(models.unet, config.layers, config.rank, config.alpha, config.seed)
        _shake(models)
        model = Model(models, resolution=256, max_rows=max_rows)
        given = model.eps
        rows: list[int] = []

        def counted(z: Tensor, *rest: Any, given: Any = given, rows: Any = rows) -> Tensor:
            if torch.is_grad_enabled():
                rows.append(len(z))
            eps: Tensor = given(z, *rest)
            return eps

        monkeypatch.setattr(model, "eps", counted)
        step = Trainer(model, space_of("church"), config).update()
        gradient = torch.cat(
            [weight.grad.flatten() for weight in lora_parameters(models.unet) if weight.grad is not None]
        )
        found.append(((step.erase_loss, step.preserve_loss), gradient, rows))
    (told, gradient, whole), (told_parted, parted, calls) = found
    # The search takes two calls of two rows; then what is erased, found, named and rehearsed.
    assert (whole, calls) == ([2, 2, 6], [2, 2, 2, 2, 2])
    assert told_parted == pytest.approx(told, rel=1e-3)
    torch.testing.assert_close(parted, gradient, rtol=0, atol=1e-3 * float(gradient.abs().max()))


def test_a_run_in_another_precision_goes_on_in_fp16(tiny_models: ModelParts) -> None:
    trainer = _trainer(tiny_models, "church", start="zero", look_every=0)
    trainer.update()
    tensors, meta = trainer.tensors(), trainer.meta()
    trainer.descent._scaler = gradient_scaler(torch.float16, torch.device("cpu"))
    scale = trainer.descent._scaler.get_scale()
    trainer.load(tensors, meta)
    assert trainer.descent._scaler.get_scale() == scale
