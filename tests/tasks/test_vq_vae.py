"""Codes that are learned with their prior: losses and scores by hand, and what training reaches and what not."""

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
from trainer.core.dataset import TensorSplit
from trainer.engine.trainer import Trainer
from trainer.models.generative.vq_vae import VQVAE
from trainer.tasks.vq_vae import VectorQuantization

TINY = ("model=vq_vae", "data=clusters16", "data.rows=300", "batch_size=32", "model.prior_width=8", "model.hidden=[8]")
QUICK = ("model=vq_vae", "data=clusters16", "data.rows=4000", "epochs=8", "val_every=4", "task.samples=500")


def task(commitment: float = 0.5, warmup: float = 0.2) -> VectorQuantization:
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


def batch(rows: int = 12) -> Batch:
    return Batch({"x": torch.rand(rows, 6)}, None, torch.arange(rows))


def test_the_loss_is_of_the_code_itself_while_warming_up_and_of_its_vector_after() -> None:
    built, seen = task().eval(), batch()
    model: Any = built.model
    x, z = seen.inputs["x"], model.encode(seen.inputs["x"])
    vectors = model.quantize(z)[0]
    torch.testing.assert_close(built.loss(seen, "autoencoder"), (model.decode(z) - x).square().mean())
    built.progress.fill_(0.2)
    after = (model.decode(vectors) - x).square().mean() + 0.5 * (z - vectors).square().mean()
    torch.testing.assert_close(built.loss(seen, "autoencoder"), after)


def test_the_encoder_learns_through_the_codes() -> None:
    """Its gradient is the decoder's, passed on as it is, and the pull to the code."""
    built, seen = task(warmup=0.0).eval(), batch()
    model: Any = built.model
    built.loss(seen, "autoencoder").backward()
    found = model.encoder[0].weight.grad.clone()
    x, z = seen.inputs["x"], model.encode(seen.inputs["x"])
    vectors = model.quantize(z)[0].requires_grad_()
    (passed,) = torch.autograd.grad((model.decode(vectors) - x).square().mean(), vectors)
    pull = (z - vectors.detach()) / z.numel()  # 0.5 times the derivative of a mean square
    (wanted,) = torch.autograd.grad(z, model.encoder[0].weight, passed + pull)
    torch.testing.assert_close(found, wanted)


def test_perplexity_of_known_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    built = task()
    monkeypatch.setattr(built, "compare_samples", lambda _: {})
    for counts, wanted in (([3, 3, 3, 3], 4.0), ([7, 0, 0, 0], 1.0), ([2, 1, 1, 0], 2 * 2**0.5)):
        totals = {"rows": torch.tensor(1), "error": torch.tensor(0.5), "nats": torch.tensor(2.0)}
        found = built.metrics(totals | {"used": torch.tensor(counts)})
        assert found["codebook_perplexity"] == pytest.approx(wanted)
        assert found["bits"] == pytest.approx(2.0 / sum(counts) / np.log(2))


@torch.no_grad()
def test_scores_of_uneven_batches_are_those_of_the_whole() -> None:
    made = lab(*TINY)
    made.task.eval()
    rows = made.data.test.inputs["x"]  # type: ignore[attr-defined]
    found = []
    for sizes in ((30,), (7, 13, 10)):
        totals = ScoreAccumulator()
        for index in torch.arange(30).split(sizes):
            totals.update(made.task.score(Batch({"x": rows[index]}, made.data.test.get_targets()[index], index)))  # type: ignore[index]
        torch.manual_seed(0)
        found.append(made.task.metrics(totals.compute_totals()))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_a_step_updates_only_its_param_group_and_the_codebook_follows_the_autoencoder() -> None:
    made = lab(*TINY)
    group = [next(made.trainer.train_loader.iter_epoch(0))]
    made.task.train()
    for who in made.task.active_groups(0):
        before = {name: value.clone() for name, value in made.task.model.state_dict().items()}
        made.trainer.update_param_group(made.trainer.param_groups[who], group)
        after = made.task.model.state_dict()
        moved = {name.split(".")[0] for name, value in before.items() if not torch.equal(value, after[name])}
        assert moved == ({"prior"} if who == "prior" else {"encoder", "decoder", "quantizer"})


@pytest.mark.parametrize("option", ["precision=bf16", "accumulate=2", "grad_clip=1", "scheduler=onecycle", "ema=0.9"])
def test_trainer_options_apply_to_both_param_groups(option: str) -> None:
    made = lab(*TINY, option, "max_steps=12", "val_every=100")
    made.trainer.fit()
    assert {group.num_updates for group in made.trainer.param_groups.values()} == {12}
    assert all(np.isfinite(value) for value in made.trainer.history[-1].values())


def test_outliers_score_lower_and_images_are_reported() -> None:
    made = lab(*TINY)
    made.task.eval()
    x = made.data.test.inputs["x"][:20].clone()  # type: ignore[attr-defined]
    x[3] = 20.0
    seen = Batch({"x": x}, None, torch.arange(20))
    with torch.no_grad():
        found = made.task.score_rows(seen)  # type: ignore[operator]
    assert found["reconstruction"].argmax() == 3
    assert found["code_log_likelihood"].shape == (20,)
    (item,) = show(made.task.make_artifacts([seen])).values()
    assert item.name == "reconstructions"


RESUMED = (*TINY, "data.rows=150", "epochs=3", "accumulate=2", "grad_clip=1", "task.warmup=0.5", "task.samples=20")
LAST_STEP = 6  # 120 rows, 4 batches, 2 steps an epoch


def run(manager: Any = None, callback: Any = None) -> Trainer:
    return lab(*RESUMED, manager=manager, callback=callback).trainer


@pytest.fixture(scope="module")
def whole() -> str:
    trainer = run()
    trainer.fit()
    assert trainer.step == LAST_STEP
    return hash_state(trainer)


@pytest.mark.parametrize("step", [1, 3, LAST_STEP])
def test_resume_is_bit_exact(tmp_path: Path, whole: str, step: int) -> None:
    chain = ResumedRun(run, tmp_path)
    chain.start(StopAt(step))
    assert hash_state(chain.resume()) == whole


@pytest.mark.parametrize("piece", ["codebook", "ema_cluster_size", "ema_cluster_sum"])
def test_a_missing_part_of_the_codebook_state_is_detected(tmp_path: Path, whole: str, piece: str) -> None:
    chain = ResumedRun(run, tmp_path)
    chain.start(StopAt(3))
    assert hash_state(chain.resume(spoil=drop_state("task", f"model.quantizer.{piece}"))) != whole


def passes(scores: dict[str, float]) -> bool:
    """The gate."""
    return scores["mse"] < 0.08 and scores["codebook_perplexity"] > 14


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_training_finds_every_cluster_and_draws_from_each(seed: int) -> None:
    found = lab(*QUICK, f"seed={seed}", f"data.seed={seed}").test()
    assert passes(found)
    assert found["modes"] == 16
    assert found["bits"] == pytest.approx(4.0, abs=0.1)


@pytest.mark.slow
def test_a_code_that_has_just_begun_is_let_be() -> None:
    """Taken for hardly used, it would be sent from one place to another at every step."""
    made = lab("model=vq_vae", "model.codes=8", "data=ring", "epochs=2", "val_every=2", "task.samples=100")
    assert made.test()["mse"] < 2 * made.data.info.density.mode_sigma**2


@pytest.mark.slow
def test_a_codebook_that_does_not_follow_misses_the_gate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.models.layers.generative.vector_quantizer.VectorQuantizer.ema_update", lambda *_: None)
    assert not passes(lab(*QUICK).test())


@pytest.mark.slow
def test_k_means_alone_misses_the_gate() -> None:
    assert not passes(lab(*QUICK, "model.restarts=false").test())


def uneven(made: Lab) -> Tensor:
    """Makes clusters 0 to 3 as frequent as 7, 1, 1 and 1; gives their shares."""
    share = torch.tensor([0.7, 0.1, 0.1, 0.1])
    for loader in made.loaders.values():
        split = loader.split
        index = torch.multinomial(share[split.target], len(split), replacement=True)
        loader.split = TensorSplit({"x": split.inputs["x"][index]}, split.target[index])
    return share


@pytest.mark.slow
def test_the_prior_draws_clusters_as_often_as_they_come() -> None:
    made = lab(*QUICK, "data.modes=4", "model.codes=4", "data.rows=3000")
    share = uneven(made)
    found = made.test()
    assert found["bits"] == pytest.approx(float(-(share * share.log2()).sum()), abs=0.1)

    def drawn() -> Tensor:
        points = made.task.generate(3000, None)  # type: ignore[operator]
        return torch.cdist(points, made.data.info.density.modes).argmin(1).bincount(minlength=4) / 3000  # type: ignore[arg-type]

    torch.testing.assert_close(drawn(), share, atol=0.06, rtol=0)
    head: Any = made.task.model.get_submodule("prior.head")
    with torch.no_grad():
        head.weight.zero_()
        head.bias.zero_()
    assert (drawn() - share).abs().max() > 0.3


@pytest.mark.slow
def test_a_class_conditional_prior_samples_that_class() -> None:
    found = lab(*QUICK, "model.num_classes=16").test()
    assert found["label_accuracy"] > 0.97
    assert found["bits"] < 0.3


@pytest.mark.slow
def test_images_are_rebuilt_from_a_grid_of_codes_that_the_prior_learns() -> None:
    made = lab("model=vq_vae_conv", "data=digits", "data.size=8", "model.widths=[16]", "epochs=8", "val_every=8")
    found, (baseline, _) = made.test(), made.task.reference_scores()
    assert found["mse"] < baseline["mse"] / 2
    assert found["bits"] < baseline["bits"] - 0.5
    assert found["codebook_perplexity"] > 30
