"""Diffusion with denoisers known in closed form: gates, controls, options."""

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


def make_batch(rows: int, classes: int = 8) -> Batch:
    return Batch({"x": torch.randn(rows, 2)}, torch.arange(rows) % classes, torch.arange(rows))


def passes_gate(scores: dict[str, float], modes: int = 8) -> bool:
    return scores["within"] >= 0.8 and scores["modes"] == modes and scores["energy_distance"] < 0.02


@pytest.mark.parametrize(
    "changes",
    [
        *({"prediction": "eps"}, {"prediction": "x0"}, {"prediction": "v"}, {"eta": 1.0}),
        pytest.param({"sampler": "ddpm"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_optimal_denoiser_passes_gate(changes: dict[str, Any]) -> None:
    scores = evaluate_test_split(diffusion(OptimalDenoiser(RING, changes.get("prediction", "eps")), **changes), RING)
    assert passes_gate(scores)
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
def test_wrong_denoiser_misses_gate(task: Any) -> None:
    scores = evaluate_test_split(task, RING)
    assert not passes_gate(scores)
    assert scores["energy_distance"] > 0.1


def test_loss_compares_with_added_noise() -> None:
    """All rows are one point, so the noise is known exactly; compared with other noise the loss would be 2."""
    point = ring(modes=1, sigma=1e-3)
    task = diffusion(OptimalDenoiser(point, "eps"))
    assert task.loss(point.train.batch(torch.arange(500), 0), "model") < 1e-3
    assert diffusion(ZeroDenoiser()).loss(make_batch(2000), "model").item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_baseline_is_loss_of_optimal_gaussian_denoiser(prediction: str) -> None:
    gaussian = ring(modes=1, sigma=0.5)
    task = diffusion(OptimalDenoiser(gaussian, prediction), prediction=prediction)
    task.setup(gaussian)
    loss = torch.stack([task.loss(gaussian.train.batch(torch.arange(4000), 0), "model") for _ in range(10)]).mean()
    assert float(loss) == pytest.approx(task.reference_scores()[0]["loss"], rel=0.03)


def test_errors_average_over_all_dimensions() -> None:
    task = diffusion(ZeroDenoiser())
    times = torch.rand(6)
    torch.manual_seed(1)
    errors = task.compute_errors(torch.zeros(6, 3, 4), None, times)
    torch.manual_seed(1)
    torch.testing.assert_close(errors, torch.randn(6, 3, 4).square().mean((1, 2)))


def test_timesteps_are_sampled_per_row_over_full_range() -> None:
    spy = RecordingDenoiser()
    task = diffusion(spy, timesteps=10)
    task.loss(make_batch(500), "model")
    steps = 10 * spy.times[0]
    torch.testing.assert_close(steps, steps.round())
    assert steps.round().unique().tolist() == list(range(1, 11))
    assert torch.bincount(steps.round().long()).max() < 100
    step = 1 + torch.arange(10)
    levels = [task.alpha_sigma(torch.tensor([time])) for time in (0.0, 0.95, 1 - 2**-24)]
    assert [round(10 * float(time)) for *_, time in levels] == [1, 10, 10]
    torch.testing.assert_close(levels[1][0], task.noise_schedule.signal[step[-1:]])


def test_scores_use_fixed_evenly_spaced_timesteps() -> None:
    spy = RecordingDenoiser()
    diffusion(spy, timesteps=10).score(make_batch(20))
    assert torch.bincount((10 * spy.times[0]).round().long()).tolist() == [0] + 10 * [2]
    run = lab("model=diffusion", "data=ring", "data.rows=300", "model.width=4", "task.samples=20", "task.steps=2")
    first, again = (run.trainer.evaluate_loader(run.loaders["val"]) for _ in range(2))
    assert first == again


def test_label_dropout_applies_only_in_training() -> None:
    spy = RecordingDenoiser(8)
    task = diffusion(spy, label_dropout=0.25)
    task.loss(make_batch(4000), "model")
    task.score(make_batch(4000))
    train_labels, eval_labels = spy.labels
    assert train_labels is not None
    is_null = train_labels == 8
    assert float(is_null.double().mean()) == pytest.approx(0.25, abs=0.03)
    assert torch.equal(train_labels[~is_null], (torch.arange(4000) % 8)[~is_null])
    assert torch.equal(eval_labels, torch.arange(4000) % 8)  # type: ignore[arg-type]


@pytest.mark.parametrize(("guidance", "expected", "rows"), [(1.0, 3.0, 4), (0.0, 0.5, 4), (2.0, 5.5, 8)])
def test_guidance_extrapolates_beyond_conditional_prediction(guidance: float, expected: float, rows: int) -> None:
    """``(1 + w) conditional - w unconditional`` with w = guidance - 1, in one pass."""
    spy = RecordingDenoiser(8)
    task = diffusion(spy, guidance=guidance)
    found = task.predict_with_guidance(torch.randn(4, 2), 0.5, torch.full((4,), 3))
    torch.testing.assert_close(found, torch.full((4, 2), expected))
    assert [len(times) for times in spy.times] == [rows]


def test_guidance_without_label_dropout_raises() -> None:
    with pytest.raises(ConfigError, match=r"guidance: 2 needs a model trained with task\.label_dropout > 0"):
        diffusion(RecordingDenoiser(8), guidance=2.0, label_dropout=0.0).predict_with_guidance(
            torch.randn(1, 2), 0.5, torch.zeros(1).long()
        )


def test_score_of_a_row_does_not_depend_on_its_batch() -> None:
    task, batch = diffusion(OptimalDenoiser(RING, "eps")), make_batch(20)
    order = torch.randperm(20)[:7]
    part = Batch({"x": batch.inputs["x"][order]}, None, order)
    torch.testing.assert_close(task.score_rows(part)["loss"], task.score_rows(batch)["loss"][order])


def test_samples_have_requested_class() -> None:
    task = diffusion(OptimalDenoiser(RING, "eps", is_conditional=True))
    assert evaluate_test_split(task, RING)["label_accuracy"] > 0.99
    task.guidance = 0.0
    assert evaluate_test_split(task, RING)["label_accuracy"] < 0.3


def test_outliers_have_higher_loss() -> None:
    task = diffusion(OptimalDenoiser(RING, "eps"))
    outliers = 6 * torch.rand(300, 2) - 3
    inliers = RING.test.batch(torch.arange(300), 0).inputs["x"]
    is_outlier = torch.arange(600) < 300

    def outlier_auc(denoising_task: Any) -> float:
        rows = Batch({"x": torch.cat((outliers, inliers))}, None, torch.arange(600))
        return roc_auc(denoising_task.score_rows(rows)["loss"], is_outlier)

    assert outlier_auc(task) > 0.9
    assert outlier_auc(diffusion(ZeroDenoiser())) < 0.6


def test_predicted_pixels_stay_in_the_value_range() -> None:
    """The last prediction is the image; it is clipped even if the denoiser diverges."""

    class Diverging(ZeroDenoiser):
        def forward(self, x: torch.Tensor, time: torch.Tensor, label: Any = None) -> torch.Tensor:
            return torch.full_like(x, 100.0)

    task = diffusion(Diverging(), steps=3)
    task.shape = (1, 4, 4)
    assert task.draw(5, None).abs().max() > 1
    task.is_scaled = True
    assert torch.equal(task.draw(5, None), torch.full((5, 1, 4, 4), -1.0))


def test_more_steps_than_timesteps_raises() -> None:
    with pytest.raises(ConfigError, match=r"task.steps: 50 given; at most 20 \(task.timesteps\)"):
        lab("model=diffusion", "data=ring", "data.rows=300", "task.timesteps=20")


def test_sample_overrides_steps_sampler_and_guidance() -> None:
    spy = RecordingDenoiser(8)
    task = diffusion(spy, timesteps=30, steps=10)
    task.setup(RING)

    def count_evaluations(**options: Any) -> int:
        spy.times.clear()
        assert len(list(task.sample(count=3, **options))) == 2
        return len(spy.times)

    assert count_evaluations() == 10
    assert count_evaluations(steps=4) == 4
    assert count_evaluations(sampler="ddpm") == 30
    assert count_evaluations(guidance=2.0) == 30
    assert len(spy.times[0]) == 6
    with pytest.raises(ConfigError, match="sampler: 'euler' given; it must be one of ddim, ddpm"):
        count_evaluations(sampler="euler")
    with pytest.raises(ConfigError, match="steps: 4 given; ddpm always uses all timesteps"):
        count_evaluations(steps=4, sampler="ddpm")
    task.num_classes = None
    with pytest.raises(ConfigError, match="guidance: 2 given; the model of this run is unconditional"):
        count_evaluations(guidance=2.0)


@pytest.mark.parametrize("model", ["diffusion", pytest.param("diffusion_unet", marks=pytest.mark.slow)])
def test_trainer_options_apply(model: str) -> None:
    data = (
        "data=ring data.rows=300" if model == "diffusion" else "data=digits data.size=5 model.widths=[4] model.heads=0"
    )
    small = "task.samples=20 task.steps=2 max_steps=3 batch_size=32 task.classifier=null"
    options = "precision=bf16 accumulate=2 grad_clip=1 scheduler=onecycle ema=0.9"
    run = lab(f"model={model}", *data.split(), *small.split(), *options.split())
    run.trainer.fit()
    assert run.trainer.step == 3
    assert run.trainer.history[-1]["val_loss"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("task", ["diffusion", "flow_matching"])
def test_training_passes_the_gate_and_few_steps_do_not(task: str) -> None:
    four = ("model=diffusion", f"task={task}", "data=ring", "data.modes=4", "data.sigma=0.2", "optimizer.lr=5e-3")
    small = ("model.width=64", "batch_size=128", "val_every=100", "ema=0.99", "task.steps=20")
    assert passes_gate(lab(*four, *small, "max_steps=800").test(), modes=4)
    assert not passes_gate(lab(*four, *small, "max_steps=20").test(), modes=4)
