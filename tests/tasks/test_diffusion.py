"""Diffusion with denoisers known in closed form: what must pass, what must not, and what each key does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers.denoisers import (
    OptimalDenoiser,
    RecordingDenoiser,
    ZeroDenoiser,
    diffusion,
    evaluate_test_split,
    ring,
)
from tests.helpers.lab import lab
from trainer.core.batch import Batch
from trainer.metrics.classification import roc_auc
from trainer.utils.errors import ConfigError

RING = ring()


def batch(rows: int, classes: int = 8) -> Batch:
    return Batch({"x": torch.randn(rows, 2)}, torch.arange(rows) % classes, torch.arange(rows))


def is_good(scores: dict[str, float], modes: int = 8) -> bool:
    return scores["within"] >= 0.8 and scores["modes"] == modes and scores["energy_distance"] < 0.02


@pytest.mark.parametrize(
    "changes",
    [
        *({"prediction": "eps"}, {"prediction": "x0"}, {"prediction": "v"}, {"eta": 1.0}),
        pytest.param({"sampler": "ddpm"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_the_best_denoiser_passes_the_gate(changes: dict[str, Any]) -> None:
    scores = evaluate_test_split(diffusion(OptimalDenoiser(RING, changes.get("prediction", "eps")), **changes), RING)
    assert is_good(scores)
    assert scores["within"] > (0.97 if "sampler" in changes else 0.9)


@pytest.mark.parametrize(
    "task",
    [
        diffusion(ZeroDenoiser()),
        diffusion(OptimalDenoiser(RING, "eps"), prediction="x0"),
        diffusion(OptimalDenoiser(RING, "x0")),
    ],
    ids=["untrained", "noise taken for data", "data taken for noise"],
)
def test_a_wrong_model_misses_the_gate(task: Any) -> None:
    scores = evaluate_test_split(task, RING)
    assert not is_good(scores)
    assert scores["energy_distance"] > 0.1


def test_the_loss_is_of_the_noise_that_was_laid_over() -> None:
    """All rows at one point: the noise can be told exactly. Compared with other noise than its own it would cost 2."""
    point = ring(modes=1, sigma=1e-3)
    task = diffusion(OptimalDenoiser(point, "eps"))
    assert task.loss(point.train.batch(torch.arange(500), 0), "model") < 1e-3
    assert diffusion(ZeroDenoiser()).loss(batch(2000), "model").item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_the_baseline_is_what_the_best_denoiser_of_a_gaussian_loses(prediction: str) -> None:
    gaussian = ring(modes=1, sigma=0.5)
    task = diffusion(OptimalDenoiser(gaussian, prediction), prediction=prediction)
    task.setup(gaussian)
    lost = torch.stack([task.loss(gaussian.train.batch(torch.arange(4000), 0), "model") for _ in range(10)]).mean()
    assert float(lost) == pytest.approx(task.reference_scores()[0]["loss"], rel=0.03)


def test_every_number_has_equal_weight() -> None:
    task = diffusion(ZeroDenoiser())
    place = torch.rand(6)
    torch.manual_seed(1)
    each = task.compute_errors(torch.zeros(6, 3, 4), None, place)
    torch.manual_seed(1)
    torch.testing.assert_close(each, torch.randn(6, 3, 4).square().mean((1, 2)))


def test_each_row_has_its_own_step_and_all_steps_come() -> None:
    spy = RecordingDenoiser()
    task = diffusion(spy, timesteps=10)
    task.loss(batch(500), "model")
    steps = 10 * spy.times[0]
    torch.testing.assert_close(steps, steps.round())
    assert steps.round().unique().tolist() == list(range(1, 11))
    assert torch.bincount(steps.round().long()).max() < 100
    step = 1 + torch.arange(10)
    places = [task.alpha_sigma(torch.tensor([place])) for place in (0.0, 0.95, 1 - 2**-24)]
    assert [round(10 * float(time)) for *_, time in places] == [1, 10, 10]
    torch.testing.assert_close(places[1][0], task.noise_schedule.signal[step[-1:]])


def test_scores_look_at_even_times_and_at_the_same_ones_every_time() -> None:
    spy = RecordingDenoiser()
    diffusion(spy, timesteps=10).score(batch(20))
    assert torch.bincount((10 * spy.times[0]).round().long()).tolist() == [0] + 10 * [2]
    run = lab("model=diffusion", "data=ring", "data.rows=300", "model.width=4", "task.samples=20", "task.steps=2")
    first, again = (run.trainer.evaluate_loader(run.loaders["val"]) for _ in range(2))
    assert first == again


def test_classes_are_dropped_in_training_only() -> None:
    spy = RecordingDenoiser(8)
    task = diffusion(spy, label_dropout=0.25)
    task.loss(batch(4000), "model")
    task.score(batch(4000))
    shown, scored = spy.labels
    assert shown is not None
    is_null = shown == 8
    assert float(is_null.double().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(shown[~is_null], (torch.arange(4000) % 8)[~is_null])
    assert torch.equal(scored, torch.arange(4000) % 8)  # type: ignore[arg-type]


@pytest.mark.parametrize(("guidance", "said", "rows"), [(1.0, 3.0, 4), (0.0, 0.5, 4), (2.0, 5.5, 8)])
def test_guidance_goes_from_no_class_over_the_class_beyond(guidance: float, said: float, rows: int) -> None:
    """``(1 + w) told - w null`` with w = guidance - 1, in one pass."""
    spy = RecordingDenoiser(8)
    task = diffusion(spy, guidance=guidance)
    found = task.predict_with_guidance(torch.randn(4, 2), 0.5, torch.full((4,), 3))
    torch.testing.assert_close(found, torch.full((4, 2), said))
    assert [len(times) for times in spy.times] == [rows]


def test_guidance_without_rows_of_no_class_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"guidance: 2 needs a model trained with task\.label_dropout > 0"):
        diffusion(RecordingDenoiser(8), guidance=2.0, label_dropout=0.0).predict_with_guidance(
            torch.randn(1, 2), 0.5, torch.zeros(1).long()
        )


def test_rows_are_of_the_class_that_was_asked_for() -> None:
    task = diffusion(OptimalDenoiser(RING, "eps", is_conditional=True))
    assert evaluate_test_split(task, RING)["label_accuracy"] > 0.99
    task.guidance = 0.0
    assert evaluate_test_split(task, RING)["label_accuracy"] < 0.3


def test_unusual_rows_score_lower() -> None:
    task = diffusion(OptimalDenoiser(RING, "eps"))
    odd = 6 * torch.rand(300, 2) - 3
    usual = RING.test.batch(torch.arange(300), 0).inputs["x"]
    is_odd = torch.arange(600) < 300

    def area(of: Any) -> float:
        rows = Batch({"x": torch.cat((odd, usual))}, None, torch.arange(600))
        return roc_auc(of.score_rows(rows)["loss"], is_odd)

    assert area(task) > 0.9
    assert area(diffusion(ZeroDenoiser())) < 0.6


def test_predicted_pixels_stay_in_the_value_range() -> None:
    """At the last step the guess is the picture: unclipped, a denoiser that says nonsense would give it out."""

    class Loud(ZeroDenoiser):
        def forward(self, x: torch.Tensor, time: torch.Tensor, label: Any = None) -> torch.Tensor:
            return torch.full_like(x, 100.0)

    task = diffusion(Loud(), steps=3)
    task.shape = (1, 4, 4)
    assert task.draw(5, None).abs().max() > 1
    task.is_scaled = True
    assert torch.equal(task.draw(5, None), torch.full((5, 1, 4, 4), -1.0))


def test_more_steps_than_there_are_is_refused_before_training() -> None:
    with pytest.raises(ConfigError, match=r"task.steps: 50 given; at most 20 \(task.timesteps\)"):
        lab("model=diffusion", "data=ring", "data.rows=300", "task.timesteps=20")


def test_a_run_is_asked_for_other_steps_samplers_and_guidance() -> None:
    spy = RecordingDenoiser(8)
    task = diffusion(spy, timesteps=30, steps=10)
    task.setup(RING)

    def looks(**asked: Any) -> int:
        spy.times.clear()
        assert len(list(task.sample(count=3, **asked))) == 2
        return len(spy.times)

    assert looks() == 10
    assert looks(steps=4) == 4
    assert looks(sampler="ddpm") == 30
    assert looks(guidance=2.0) == 30
    assert len(spy.times[0]) == 6
    with pytest.raises(ConfigError, match="sampler: 'euler' given; it must be one of ddim, ddpm"):
        looks(sampler="euler")
    with pytest.raises(ConfigError, match="steps: 4 given; ddpm always uses all timesteps"):
        looks(steps=4, sampler="ddpm")
    task.num_classes = None
    with pytest.raises(ConfigError, match="guidance: 2 given; the model of this run is unconditional"):
        looks(guidance=2.0)


@pytest.mark.parametrize("model", ["diffusion", pytest.param("diffusion_unet", marks=pytest.mark.slow)])
def test_trainer_options_apply(model: str) -> None:
    data = (
        "data=ring data.rows=300" if model == "diffusion" else "data=digits data.size=5 model.widths=[4] model.heads=0"
    )
    small = "task.samples=20 task.steps=2 max_steps=3 batch_size=32 task.classifier=null"
    options = "precision=bf16 accumulate=2 grad_clip=1 scheduler=onecycle ema=0.9"
    made = lab(f"model={model}", *data.split(), *small.split(), *options.split())
    made.trainer.fit()
    assert made.trainer.step == 3
    assert made.trainer.history[-1]["val_loss"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("task", ["diffusion", "flow_matching"])
def test_training_passes_the_gate_and_few_steps_do_not(task: str) -> None:
    four = ("model=diffusion", f"task={task}", "data=ring", "data.modes=4", "data.sigma=0.2", "optimizer.lr=5e-3")
    small = ("model.width=64", "batch_size=128", "val_every=100", "ema=0.99", "task.steps=20")
    assert is_good(lab(*four, *small, "max_steps=800").test(), modes=4)
    assert not is_good(lab(*four, *small, "max_steps=20").test(), modes=4)
