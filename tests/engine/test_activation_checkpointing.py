"""Activation checkpointing: the same bits with less memory, for every model with repeated blocks."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from tests.helpers.digest import digest
from tests.helpers.pairs import MODELS, Pair, first_dataset, make_pair
from tests.helpers.saved_tensors import record_saved_bytes
from trainer.config import compose, introspection
from trainer.config.compatible_options import BLOCKS_METHOD
from trainer.core.repeated_blocks import list_blocks
from trainer.engine import factory, sanity_check
from trainer.engine.activation_checkpointing import CheckpointedForward, checkpoint_activations
from trainer.engine.trainer import Trainer
from trainer.runs import train
from trainer.utils.errors import ConfigError

BLOCK_MODELS = [
    *("diffusion_unet", "efficientnet", "gpt", "hybrid_cnn_transformer", "mobilenet", "patch_transformer"),
    *("pretrained", "resnet", "token_transformer", "transformer", "transformer_seq2seq", "unet", "vit_b16", "vit_tiny"),
    *("vq_vae", "vq_vae_conv"),
]
QUICK = ("patch_transformer", "vq_vae")
STEPS = 20
STOCHASTIC = {"efficientnet": ("model.stochastic_depth=0.3",)}
"""Overrides of models with other random numbers than those of dropout."""


def parametrize_models(quick: tuple[str, ...] = QUICK) -> pytest.MarkDecorator:
    marked = [pytest.param(name, marks=[pytest.mark.slow] * (name not in quick)) for name in BLOCK_MODELS]
    return pytest.mark.parametrize("model", marked)


class Training(NamedTuple):
    """Result of some steps: weights, buffers and losses as a digest, and the bytes saved for a backward pass."""

    digest: str
    saved_bytes: int


def make_model_pair(model: str, *overrides: str) -> Pair:
    """Build a model with dropout in every place that can have some."""
    pair = make_pair(model, first_dataset(model), *STOCHASTIC.get(model, ()), *overrides)
    for module in pair.task.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.2
    return pair


def train_steps(pair: Pair, steps: int = STEPS) -> Training:
    """Train on small batches and count the bytes of distinct tensors that autograd saves in the last step."""
    settings = pair.config.settings
    param_groups = factory.make_param_groups(pair.config.tree, settings, pair.task, pair.loaders["train"])
    trainer = Trainer(pair.task, param_groups, pair.loaders["train"], pair.loaders["val"], settings)
    pair.task.train()
    torch.manual_seed(1)
    losses: list[float] = []
    saved_bytes = 0
    batch = pair.loaders["train"].load_rows(torch.arange(6))
    for step in range(steps):
        trainer.step_metrics.clear_updates()
        for name in pair.task.active_groups(step):
            with record_saved_bytes(pair.task) as saved:
                trainer.update_param_group(trainer.param_groups[name], [batch])
            saved_bytes = sum(saved.values())
        losses.append(trainer.step_metrics["loss"])
    state = {"state": pair.task.state_dict(), "losses": losses, "random": torch.get_rng_state()}
    return Training(digest(state), saved_bytes)


def test_models_of_these_families_name_their_blocks() -> None:
    signatures = {name: introspection.read_signature(str(option.class_path)) for name, option in MODELS.items()}
    assert [name for name, item in signatures.items() if item and BLOCKS_METHOD in item.parameters_by_method] == (
        BLOCK_MODELS
    )


@parametrize_models()
def test_blocks_are_separate_modules_that_the_loss_calls(model: str) -> None:
    pair = make_model_pair(model)
    blocks = list_blocks(pair.task.model)
    parts = [part for block in blocks for part in block.modules()]
    assert len(set(parts)) == len(parts) > 0
    assert set(parts) < set(pair.task.model.modules())
    called = set()
    for block in blocks:
        block.register_forward_hook(lambda module, *_: called.add(module))
    for name in pair.task.active_groups(0):
        pair.task.loss(sanity_check.make_small_batch(pair.loaders["train"]), name)
    assert called == set(blocks)


@parametrize_models()
def test_weights_and_losses_are_equal_to_the_bit_with_less_memory(model: str) -> None:
    plain = make_model_pair(model)
    names = list(plain.task.state_dict())
    checkpointed = make_model_pair(model)
    checkpoint_activations(checkpointed.task.model)
    assert list(checkpointed.task.state_dict()) == names
    expected, actual = train_steps(plain), train_steps(checkpointed)
    assert actual.digest == expected.digest
    assert actual.saved_bytes < 0.75 * expected.saved_bytes


@parametrize_models(("mobilenet",))
def test_bits_are_equal_in_mixed_precision(model: str) -> None:
    plain, checkpointed = make_model_pair(model, "precision=bf16"), make_model_pair(model, "precision=bf16")
    checkpoint_activations(checkpointed.task.model)
    assert train_steps(checkpointed, 4).digest == train_steps(plain, 4).digest


def test_evaluation_keeps_nothing_and_calls_each_block_once() -> None:
    pair = make_model_pair("vit_tiny")
    checkpoint_activations(pair.task.model)
    calls: list[nn.Module] = []
    for block in list_blocks(pair.task.model):
        next(block.children()).register_forward_pre_hook(lambda module, _: calls.append(module))
    pair.task.eval()
    loss = pair.task.loss(sanity_check.make_small_batch(pair.loaders["train"]), "model")
    calls_before = len(calls)
    loss.backward()
    assert len(calls) == calls_before


class Noisy(nn.Module):
    """A block with batch norm and dropout, and a buffer on which its output depends."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.register_buffer("scale", torch.ones(()))
        self.scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.scale.mul_(2)
        return self.layers(x).square() * self.scale.clone()


class NoisyModel(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Noisy()

    def repeated_blocks(self) -> tuple[nn.Module]:
        return (self.block,)

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


def compute_gradients(model: NoisyModel) -> str:
    torch.manual_seed(3)
    model(torch.randn(5, 3)).sum().backward()
    return digest([{name: p.grad for name, p in model.named_parameters()}, model.state_dict(), torch.get_rng_state()])


def make_noisy() -> NoisyModel:
    torch.manual_seed(0)
    return NoisyModel().train()


def test_buffers_are_updated_once_and_dropout_repeats() -> None:
    expected, model = compute_gradients(make_noisy()), make_noisy()
    checkpoint_activations(model)
    assert compute_gradients(model) == expected


@pytest.mark.parametrize("preserve", [True, False])
def test_plain_checkpoints_change_the_bits(preserve: bool) -> None:
    """The test above would fail without buffers of their own for the repetition, or without its random state."""
    expected, model = compute_gradients(make_noisy()), make_noisy()
    forward = model.block.forward
    model.block.forward = lambda x: checkpoint(  # type: ignore[method-assign]
        forward, x, use_reentrant=False, preserve_rng_state=preserve
    )
    assert compute_gradients(model) != expected


@pytest.mark.slow
def test_compiled_losses_update_running_statistics_once() -> None:
    states = []
    for is_checkpointed in (False, True):
        pair = make_model_pair("resnet")
        if is_checkpointed:
            checkpoint_activations(pair.task.model)
        loss = torch.compile(pair.task.loss, backend="aot_eager", fullgraph=True)
        loss(pair.loaders["train"].load_rows(torch.arange(6)), "model").backward()
        states.append(dict(pair.task.named_buffers()) | {n: p.grad for n, p in pair.task.named_parameters()})
    torch.testing.assert_close(states[1], states[0])


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        compose.compose(["model=mlp", "data=moons", "checkpoint_activations=true"])
    listing = ", ".join(BLOCK_MODELS)
    assert str(caught.value) == f"checkpoint_activations: model mlp has no repeated blocks; these have: {listing}"
    with pytest.raises(ConfigError, match="checkpoint_activations: Linear has no repeated blocks"):
        checkpoint_activations(nn.Linear(1, 1))


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_a_run_with_the_key_has_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    forward = CheckpointedForward.__call__

    def record(self: CheckpointedForward, *args: object) -> object:
        calls.append(self)
        return forward(self, *args)

    monkeypatch.setattr(CheckpointedForward, "__call__", record)
    words = [*("model=transformer", "data=synthetic_seq", "data.rows=60", "epochs=2", "threads=1", "draw=false")]
    plain = train.run(compose.compose(words))
    assert not calls
    checkpointed = train.run(compose.compose([*words, "checkpoint_activations=true"]))
    assert calls
    assert (checkpointed.test, checkpointed.val) == (plain.test, plain.val)


def test_the_key_does_not_identify_a_run() -> None:
    words = ["model=transformer", "data=synthetic_seq"]
    hashes = {compose.compose([*words, f"checkpoint_activations={on}"]).config_hash for on in ("true", "false")}
    assert len(hashes) == 1
