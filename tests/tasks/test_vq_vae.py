"""VQ-VAE with its prior: losses and scores in closed form, resume, training and its controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.artifacts import make_artifacts as show
from tests.helpers.lab import Lab, lab
from tests.helpers.resumed_runs import ResumedRun, drop_state, hash_state
from tests.helpers.tiny import StopAt
from trainer.core.batch import Batch, ScoreAccumulator
from trainer.core.split import TensorSplit
from trainer.engine.trainer import Trainer
from trainer.models.generative.vq_vae import VQVAE
from trainer.tasks.vq_vae import VectorQuantization

TINY = ("model=vq_vae", "data=clusters16", "data.rows=300", "batch_size=32", "model.prior_width=8", "model.hidden=[8]")
QUICK = ("model=vq_vae", "data=clusters16", "data.rows=4000", "epochs=8", "val_every=4", "task.samples=500")


def make_task(commitment: float = 0.5, warmup: float = 0.2) -> VectorQuantization:
    model = VQVAE(
        flat_features=6,
        hidden=[8],
        groups=2,
        codes=4,
        code_width=3,
        decay=0.9,
        restarts=True,
        prior_width=8,
        prior_layers=1,
        prior_dropout=0.0,
        num_classes=None,
    )
    return VectorQuantization(model, commitment, warmup, samples=50, classifier=None)


def make_batch(rows: int = 12) -> Batch:
    return Batch({"x": torch.rand(rows, 6)}, None, torch.arange(rows))


def test_loss_uses_continuous_code_in_warmup_and_codebook_after() -> None:
    task, batch = make_task().eval(), make_batch()
    model: Any = task.model
    x, z = batch.inputs["x"], model.encode(batch.inputs["x"])
    vectors = model.quantize(z)[0]
    torch.testing.assert_close(task.loss(batch, "autoencoder"), (model.decode(z) - x).square().mean())
    task.progress.fill_(0.2)
    expected = (model.decode(vectors) - x).square().mean() + 0.5 * (z - vectors).square().mean()
    torch.testing.assert_close(task.loss(batch, "autoencoder"), expected)


def test_encoder_gradient_is_flow_matching_through_plus_commitment() -> None:
    """The gradient is the decoder's, copied to the encoder, plus the commitment term."""
    task, batch = make_task(warmup=0.0).eval(), make_batch()
    model: Any = task.model
    task.loss(batch, "autoencoder").backward()
    found = model.encoder[0].weight.grad.clone()
    x, z = batch.inputs["x"], model.encode(batch.inputs["x"])
    vectors = model.quantize(z)[0].requires_grad_()
    (decoder_grad,) = torch.autograd.grad((model.decode(vectors) - x).square().mean(), vectors)
    commitment_grad = (z - vectors.detach()) / z.numel()  # 0.5 times the derivative of a mean square
    (expected,) = torch.autograd.grad(z, model.encoder[0].weight, decoder_grad + commitment_grad)
    torch.testing.assert_close(found, expected)


def test_perplexity_of_known_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    task = make_task()
    monkeypatch.setattr(task, "compare_samples", lambda _: {})
    for counts, expected in (([3, 3, 3, 3], 4.0), ([7, 0, 0, 0], 1.0), ([2, 1, 1, 0], 2 * 2**0.5)):
        totals = {"rows": torch.tensor(1), "error": torch.tensor(0.5), "neg_log_prob": torch.tensor(2.0)}
        found = task.metrics(totals | {"used": torch.tensor(counts)})
        assert found["codebook_perplexity"] == pytest.approx(expected)
        assert found["bits"] == pytest.approx(2.0 / sum(counts) / np.log(2))


@torch.no_grad()
def test_scores_are_independent_of_batch_sizes() -> None:
    run = lab(*TINY)
    run.task.eval()
    rows = run.data.test.inputs["x"]  # type: ignore[attr-defined]
    found = []
    for sizes in ((30,), (7, 13, 10)):
        totals = ScoreAccumulator()
        for index in torch.arange(30).split(sizes):
            totals.update(run.task.score(Batch({"x": rows[index]}, run.data.test.get_targets()[index], index)))  # type: ignore[index]
        torch.manual_seed(0)
        found.append(run.task.metrics(totals.compute_totals()))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_update_changes_only_parameters_of_its_group() -> None:
    run = lab(*TINY)
    batches = [next(run.trainer.train_loader.iter_epoch(0))]
    run.task.train()
    for group_name in run.task.active_groups(0):
        before = {name: value.clone() for name, value in run.task.model.state_dict().items()}
        run.trainer.update_param_group(run.trainer.param_groups[group_name], batches)
        after = run.task.model.state_dict()
        changed = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
        assert changed == ({"prior"} if group_name == "prior" else {"encoder", "decoder", "quantizer"})


@pytest.mark.parametrize("option", ["precision=bf16", "accumulate=2", "grad_clip=1", "scheduler=onecycle", "ema=0.9"])
def test_trainer_options_apply_to_both_param_groups(option: str) -> None:
    run = lab(*TINY, option, "max_steps=12", "val_every=100")
    run.trainer.fit()
    assert {group.num_updates for group in run.trainer.param_groups.values()} == {12}
    assert all(np.isfinite(value) for value in run.trainer.history[-1].values())


def test_outlier_has_highest_error_and_reconstructions_are_reported() -> None:
    run = lab(*TINY)
    run.task.eval()
    x = run.data.test.inputs["x"][:20].clone()  # type: ignore[attr-defined]
    x[3] = 20.0
    batch = Batch({"x": x}, None, torch.arange(20))
    with torch.no_grad():
        found = run.task.score_rows(batch)  # type: ignore[operator]
    assert found["reconstruction"].argmax() == 3
    assert found["code_log_likelihood"].shape == (20,)
    (item,) = show(run.task.make_artifacts([batch])).values()
    assert item.name == "reconstructions"


RESUMED = (*TINY, "data.rows=150", "epochs=3", "accumulate=2", "grad_clip=1", "task.warmup=0.5", "task.samples=20")
LAST_STEP = 6  # 120 rows, 4 batches, 2 steps an epoch


def make_trainer(manager: Any = None, callback: Any = None) -> Trainer:
    return lab(*RESUMED, manager=manager, callback=callback).trainer


@pytest.fixture(scope="module")
def uninterrupted_hash() -> str:
    trainer = make_trainer()
    trainer.fit()
    assert trainer.step == LAST_STEP
    return hash_state(trainer)


@pytest.mark.parametrize("step", [1, 3, LAST_STEP])
def test_resume_is_bit_exact(tmp_path: Path, uninterrupted_hash: str, step: int) -> None:
    resumed = ResumedRun(make_trainer, tmp_path)
    resumed.start(StopAt(step))
    assert hash_state(resumed.resume()) == uninterrupted_hash


@pytest.mark.parametrize("piece", ["codebook", "ema_cluster_size", "ema_cluster_sum"])
def test_a_missing_part_of_the_codebook_state_is_detected(tmp_path: Path, uninterrupted_hash: str, piece: str) -> None:
    resumed = ResumedRun(make_trainer, tmp_path)
    resumed.start(StopAt(3))
    assert hash_state(resumed.resume(change_state=drop_state("task", f"model.quantizer.{piece}"))) != uninterrupted_hash


def passes_gate(scores: dict[str, float]) -> bool:
    """Return True if the scores pass the gate."""
    return scores["mse"] < 0.08 and scores["codebook_perplexity"] > 14


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_training_finds_and_samples_every_cluster(seed: int) -> None:
    found = lab(*QUICK, f"seed={seed}", f"data.seed={seed}").test()
    assert passes_gate(found)
    assert found["modes"] == 16
    assert found["bits"] == pytest.approx(4.0, abs=0.1)


@pytest.mark.slow
def test_restarted_code_is_not_restarted_again() -> None:
    """Counted as unused, it would be restarted at every step."""
    run = lab("model=vq_vae", "model.codes=8", "data=ring", "epochs=2", "val_every=2", "task.samples=100")
    assert run.test()["mse"] < 2 * run.data.info.density.mode_sigma**2


@pytest.mark.slow
def test_frozen_codebook_misses_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.models.layers.generative.vector_quantizer.VectorQuantizer.ema_update", lambda *_: None)
    assert not passes_gate(lab(*QUICK).test())


@pytest.mark.slow
def test_training_without_restarts_misses_gate() -> None:
    assert not passes_gate(lab(*QUICK, "model.restarts=false").test())


def resample_clusters(run: Lab) -> Tensor:
    """Resample clusters 0 to 3 with frequencies 7, 1, 1 and 1; return the frequencies."""
    frequencies = torch.tensor([0.7, 0.1, 0.1, 0.1])
    for loader in run.loaders.values():
        split = loader.split
        index = torch.multinomial(frequencies[split.target], len(split), replacement=True)
        loader.split = TensorSplit({"x": split.inputs["x"][index]}, split.target[index])
    return frequencies


@pytest.mark.slow
def test_prior_samples_clusters_by_frequency() -> None:
    run = lab(*QUICK, "data.modes=4", "model.codes=4", "data.rows=3000")
    frequencies = resample_clusters(run)
    found = run.test()
    assert found["bits"] == pytest.approx(float(-(frequencies * frequencies.log2()).sum()), abs=0.1)

    def sample_frequencies() -> Tensor:
        points = run.task.generate(3000, None)  # type: ignore[operator]
        return torch.cdist(points, run.data.info.density.modes).argmin(1).bincount(minlength=4) / 3000  # type: ignore[arg-type]

    torch.testing.assert_close(sample_frequencies(), frequencies, atol=0.06, rtol=0)
    head: Any = run.task.model.get_submodule("prior.head")
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
    assert (sample_frequencies() - frequencies).abs().max() > 0.3


@pytest.mark.slow
def test_class_conditional_prior_samples_requested_class() -> None:
    found = lab(*QUICK, "model.num_classes=16").test()
    assert found["label_accuracy"] > 0.97
    assert found["bits"] < 0.3


@pytest.mark.slow
def test_image_codes_reconstruct_images_and_are_learned_by_prior() -> None:
    run = lab("model=vq_vae_conv", "data=digits", "data.size=8", "model.widths=[16]", "epochs=8", "val_every=8")
    found, (baseline, _) = run.test(), run.task.reference_scores()
    assert found["mse"] < baseline["mse"] / 2
    assert found["bits"] < baseline["bits"] - 0.5
    assert found["codebook_perplexity"] > 30


def test_sampler_of_uniform_noise_draws_from_the_prior() -> None:
    torch.manual_seed(0)
    task, count = make_task().eval(), 4000
    task.shape = (6,)
    model: Any = task.model
    with torch.no_grad():
        noise = task.draw_noise(count)
        assert noise["noise"].shape == (count, 2)
        rows = task.transform_noise(noise, None)
        vectors = model.decode_codes(torch.cartesian_prod(torch.arange(4), torch.arange(4)))
        pair = torch.cdist(rows, vectors).argmin(1)
        frequency = torch.bincount(pair, minlength=16) / count
        first = model.code_scores(torch.zeros(1, 2, dtype=torch.long))[0, 0].softmax(0)
        second = model.code_scores(torch.arange(4)[:, None].expand(-1, 2))[:, 1].softmax(1)
        torch.testing.assert_close(frequency, (first[:, None] * second).flatten(), atol=0.03, rtol=0)
