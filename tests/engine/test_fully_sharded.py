"""Sharded models: the losses of one process, with a part of its memory and the same checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import Lab, lab
from tests.helpers.own_files import texts
from tests.helpers.process_groups import run_processes
from trainer.engine.activation_checkpointing import checkpoint_activations
from trainer.engine.data_parallel import DataParallel
from trainer.engine.fully_sharded import FullySharded
from trainer.engine.param_group import ParamGroup
from trainer.engine.process_group import ProcessGroup, SingleProcess
from trainer.engine.shards import ShardedBatch
from trainer.engine.trainer import Trainer
from trainer.optim.sharded_params import ShardedParameters
from trainer.utils.errors import ConfigError

VIT = ("model=vit_tiny", "data=gratings", "data.rows=61", "model.layers=2", "model.dropout=0.1")
GPT = ("model=gpt", "data=text_file", f"data.path={texts() / 'story.txt'}", "data.seq_len=16", "model.width=16")
MODELS = {
    "vit": VIT,
    "gpt": (*GPT, "model.hidden=32", "model.heads=2", "model.layers=2"),
    "resnet": ("model=resnet", "data=gratings", "data.rows=61", "optimizer.lr=1e-4"),
    "unet": ("model=unet", "data=digit_canvas", "data.rows=60", "model.widths=[16,32]"),
    "diffusion_unet": ("model=diffusion_unet", "data=gratings", "data.rows=60", "model.widths=[8,8]"),
    "transformer_seq2seq": ("model=transformer_seq2seq", "data=reverse", "data.rows=60", "model.dropout=0.1"),
    "efficientnet": ("model=efficientnet", "data=gratings", "data.rows=40", "optimizer.lr=1e-4"),
    "encoder-decoder": ("model=transformer", "model.decoder_layers=1", "data=synthetic_seq", "data.rows=61"),
}
COMMON = ("batch_size=8", "max_steps=10", "grad_clip=1", "ema=0.9", "scheduler=onecycle", "accumulate=2")


def build(overrides: Sequence[str], strategy: DataParallel) -> Lab:
    return lab(*COMMON, *overrides, strategy=strategy)


def count_bytes(trainer: Trainer) -> int:
    """Return the bytes of the parameters that a process holds, and of their gradients, averages and optimizer state."""
    group = trainer.param_groups["model"]
    assert group.ema is not None
    vectors = [group.params.data, group.params.grad, group.ema.average, *group.optimizer.averages.values()]
    vectors += [group.params.get_tensor(p).detach() for p in group.params.parameters]
    return sum({value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in vectors}.values())


def collect_state(trainer: Trainer) -> dict[str, Any]:
    """Return the state in process 0, as a callback that saves checkpoints gets it; nothing in the others."""
    state = trainer.state_dict() if trainer.strategy.process_group.is_main else {}
    if isinstance(trainer.strategy, FullySharded):
        trainer.strategy._requests.serve(trainer)
    return state


def compare_losses(a: Sequence[dict[str, float]], b: Sequence[dict[str, float]]) -> float:
    """Return the largest difference of training and validation losses."""
    assert len(a) == len(b) > 0
    keys = {"train_loss", "val_loss", "val_nll"} & a[0].keys()
    return max(abs(x[key] - y[key]) for x, y in zip(a, b, strict=True) for key in keys)


def train(
    overrides: Sequence[str], kind: type[DataParallel], state: dict[str, Any] | None = None
) -> Callable[[ProcessGroup], dict[str, Any]]:
    """Return a function that trains with two shards and returns what a process has then."""

    def train_on(group: ProcessGroup) -> dict[str, Any]:
        run = build(overrides, kind(group, 2))
        trainer = run.trainer
        if state is not None:
            trainer.load_state_dict(state, None)
        trainer.fit()
        bytes_held = count_bytes(trainer)
        saved = collect_state(trainer)
        trainer.load_best_weights()
        scores = trainer.evaluate_loader(run.loaders["test"])
        return {"history": trainer.history, "bytes": bytes_held, "state": saved, "scores": scores}

    return train_on


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_losses_are_those_of_one_process(name: str) -> None:
    (whole,) = run_processes(1, train(MODELS[name], DataParallel))
    first, second = run_processes(2, train(MODELS[name], FullySharded))
    assert first["history"][0].keys() == second["history"][0].keys()
    assert compare_losses(first["history"], whole["history"]) < 1e-5
    assert compare_losses(first["history"], second["history"]) == 0
    assert first["scores"] == second["scores"]
    assert first["scores"] == pytest.approx(whole["scores"], rel=1e-4, abs=1e-5)
    for sharded in (first, second):
        assert sharded["bytes"] < 0.54 * whole["bytes"]
    assert describe(first["state"]) == describe(whole["state"])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "is_shared"), [("vit", True), ("gpt", True), ("transformer_seq2seq", False)])
def test_processes_share_the_batches_of_an_evaluation(name: str, is_shared: bool) -> None:
    def evaluate(group: ProcessGroup) -> tuple[dict[str, float], dict[str, float], int, int]:
        run = build(MODELS[name], FullySharded(group, 2))
        trainer, loader, counts = run.trainer, run.loaders["train"], [0]
        trainer.strategy.start(trainer)
        score = trainer.task.score

        def count_score(batch: Any) -> Any:
            counts[-1] += 1
            return score(batch)

        trainer.task.score = count_score  # type: ignore[method-assign]
        shared = trainer.evaluate_loader(loader)
        counts.append(0)
        trainer.strategy.evaluation_group = SingleProcess()
        return (shared, trainer.evaluate_loader(loader), *counts)

    results = run_processes(2, evaluate)
    for scores, whole_scores, count, whole_count in results:
        assert scores == whole_scores == results[0][0]
        assert count == (1 + whole_count // 2 if is_shared else whole_count)
        assert whole_count > 3


def describe(state: Any) -> Any:
    """Return the structure of a state, with shapes in place of tensors."""
    if isinstance(state, dict):
        return {key: describe(value) for key, value in state.items() if key not in ("history", "running_totals")}
    return (tuple(state.shape), state.dtype) if isinstance(state, Tensor) else type(state)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["precision=bf16", "precision=fp16", "optimizer=sgd", "optimizer=nadam"])
def test_precision_and_optimizers(change: str) -> None:
    (whole,) = run_processes(1, train((*VIT, change), DataParallel))
    first, _ = run_processes(2, train((*VIT, change), FullySharded))
    # Processors add products of 16 bits in different orders: the losses agree to a rounding of that type.
    limit = {"precision=bf16": torch.finfo(torch.bfloat16).eps / 2, "precision=fp16": torch.finfo(torch.float16).eps}
    assert compare_losses(first["history"], whole["history"]) < limit.get(change, 1e-5)


@pytest.mark.slow
def test_an_overflow_in_one_shard_of_the_gradient_skips_the_update_in_all_processes() -> None:
    class OneOverflow(FullySharded):
        def compute_gradient(self, trainer: Trainer, group: ParamGroup, batches: Sequence[ShardedBatch]) -> Tensor:
            total = super().compute_gradient(trainer, group, batches)
            if trainer.step == 3 and self.process_group.rank == 1:
                group.params.grad[0] = torch.inf
            return total

    results = {kind: run_processes(2, train((*VIT, "precision=fp16"), kind)) for kind in (FullySharded, OneOverflow)}
    (usual, _), (first, second) = results.values()
    assert first["scores"] == second["scores"]
    assert all(map(math.isfinite, first["scores"].values()))
    for state, scale, steps in ((usual, 1, 0), (first, 0.5, 1)):
        assert state["state"]["scaler"]["scale"] == usual["state"]["scaler"]["scale"] * scale
        optimizer = state["state"]["param_groups"]["model"]["optimizer"]
        assert optimizer["steps"] == usual["state"]["param_groups"]["model"]["optimizer"]["steps"] - steps


@pytest.mark.slow
def test_checkpoints_are_exchanged_with_one_process() -> None:
    """A state of half of the steps is continued by the other kind of training."""
    words = (*VIT, "epochs=null")
    (whole,) = run_processes(1, train(words, DataParallel))

    def train_half(kind: type[DataParallel]) -> Callable[[ProcessGroup], dict[str, Any]]:
        def train_on(group: ProcessGroup) -> dict[str, Any]:
            trainer = build(words, kind(group, 2)).trainer
            trainer.strategy.start(trainer)
            trainer.train_epoch()
            trainer.run_validation()
            trainer.epoch, trainer.batch = trainer.epoch + 1, 0
            return collect_state(trainer)

        return train_on

    for first_kind, kind in ((FullySharded, DataParallel), (DataParallel, FullySharded), (FullySharded, FullySharded)):
        state = run_processes(2 if first_kind is FullySharded else 1, train_half(first_kind))[0]
        resumed = run_processes(2 if kind is FullySharded else 1, train(words, kind, state))[0]
        assert compare_losses(resumed["history"], whole["history"]) < 1e-5
        assert resumed["state"]["position"] == whole["state"]["position"]


@pytest.mark.slow
def test_activation_checkpointing_changes_no_bit() -> None:
    def train_checkpointed(group: ProcessGroup) -> dict[str, Any]:
        strategy = FullySharded(group, 2)
        shard = strategy.shard_model
        strategy.shard_model = lambda task: (checkpoint_activations(task.model), shard(task))  # type: ignore[method-assign, assignment, func-returns-value, return-value]
        trainer = build(VIT, strategy).trainer
        trainer.fit()
        return collect_state(trainer)

    plain = run_processes(2, train(VIT, FullySharded))[0]["state"]
    checkpointed = run_processes(2, train_checkpointed)[0]
    assert all(torch.equal(value, plain["task"][name]) for name, value in checkpointed["task"].items())


class LocalNorm(ShardedParameters):
    """Broken twin: a process clips by the norm of its own shards."""

    def compute_grad_norm(self) -> Tensor:
        return torch.linalg.vector_norm(self.grad)


class ClipsLocally(FullySharded):
    params_class = LocalNorm


class SameRandomNumbers(FullySharded):
    """Broken twin: both parts of a batch have the same dropout."""

    def _hash_seed(self, trainer: Any, group: Any, shard: int) -> int:
        return super()._hash_seed(trainer, group, 0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ClipsLocally, SameRandomNumbers])
def test_broken_twins_have_other_losses(kind: type[FullySharded]) -> None:
    (whole,) = run_processes(1, train(VIT, DataParallel))
    first, _ = run_processes(2, train(VIT, kind))
    assert compare_losses(first["history"], whole["history"]) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model=vq_vae", "data=adding"), "strategy: VectorQuantization has several parameter groups"),
        ((*VIT, "optimizer=muon"), "optimizer: it updates whole parameters"),
    ],
)
def test_what_cannot_be_sharded_is_refused(overrides: tuple[str, ...], message: str) -> None:
    def find_message(group: ProcessGroup) -> str:
        with pytest.raises(ConfigError) as caught:
            build(overrides, FullySharded(group, 2))
        return str(caught.value)

    assert all(found.startswith(message) for found in run_processes(2, find_message))


def count_whole(value: Any, names: Sequence[str], name: str = "") -> int:
    """Return the number of tensors with values and the name of a parameter in a nested state."""
    if isinstance(value, Tensor):
        return name in names and not value.is_meta
    return sum(count_whole(item, names, key) for key, item in value.items()) if isinstance(value, dict) else 0


@pytest.mark.slow
def test_only_process_0_has_the_whole_tensors_of_a_state() -> None:
    """The others have neither those of a state that is saved, nor the best weights, also of a resumed run."""

    def collect(group: ProcessGroup) -> list[tuple[Any, float]]:
        trainer = build(MODELS["resnet"], FullySharded(group, 2)).trainer
        names = [name for name, _ in trainer.task.named_parameters()]
        trainer.best.replace_weights({trainer.monitor: 0.0}, 1, 1, trainer.task.state_dict())
        best = trainer.best.weights or {}
        trainer.best.weights = {name: torch.zeros_like(value, device="cpu") for name, value in best.items()}
        trainer.strategy.start(trainer)
        trainer.strategy._requests.close()
        loaded = trainer.best.weights
        return [
            (describe(state), count_whole(state, names) / len(names)) for state in (best, loaded, trainer.state_dict())
        ]

    first, second = run_processes(2, collect)
    assert [state for state, _ in first] == [state for state, _ in second]
    assert [count for _, count in first] == [1, 1, 4]  # weights, their average, and two of Adam
    assert [count for _, count in second] == [0, 0, 0]
