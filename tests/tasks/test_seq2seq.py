from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.artifacts import make_artifacts
from tests.helpers.lab import Lab, lab
from trainer.core.artifacts import Table
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.tasks.base.teacher_forcing import forcing_ratio
from trainer.tasks.evaluation.sequence_metrics import SequenceMetrics
from trainer.tasks.seq2seq import Seq2Seq
from trainer.utils.errors import ConfigError

V = 6


class ConstantModel(nn.Module):
    """Model that always predicts token 0 and records the decoder inputs."""

    def __init__(self, horizon: int):
        super().__init__()
        self.bias = nn.Parameter(torch.eye(V)[0])
        self.horizon = horizon
        self.decoder_inputs: list[Tensor] = []

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,)

    def decode(self, tokens: Tensor, memory: Any, state: Any = None) -> tuple[Tensor, tuple[()]]:
        self.decoder_inputs.append(tokens)
        return self.bias.expand(*tokens.shape, len(self.bias)), ()

    def forward(self, x: Tensor) -> Tensor:
        return self.bias.expand(len(x), self.horizon, V)


def make_task(forcing: Any, end: float = 0.0, per: Any = "token", horizon: int = 8) -> tuple[Seq2Seq, ConstantModel]:
    model = ConstantModel(horizon)
    return Seq2Seq(model, V, horizon, forcing, end, per, beam_size=1, length_penalty=1.0), model


def make_batch(target: Tensor) -> Batch:
    return Batch({"x": torch.zeros(len(target), 3, dtype=torch.long)}, target, torch.arange(len(target)))


def random_targets(rows: int = 400, steps: int = 8) -> Tensor:
    """Return targets without 0, so that forced tokens differ from predicted ones."""
    return torch.randint(1, V, (rows, steps))


def test_a_batch_without_counted_tokens_has_zero_loss() -> None:
    assert make_task(1.0)[0].loss(make_batch(torch.full((2, 8), IGNORE_INDEX)), "model") == 0


@pytest.mark.parametrize("end", [0.0, 0.25])
def test_schedules_match_their_formulas(end: float) -> None:
    def sigmoid(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    formulas = {
        "linear": lambda p: 1 - p,
        "exponential": lambda p: (0.01**p - 0.01) / 0.99,
        "inverse_sigmoid": lambda p: (sigmoid(5 - 10 * p) - sigmoid(-5)) / (sigmoid(5) - sigmoid(-5)),
    }
    for name, decay in formulas.items():
        curve = [float(forcing_ratio(name, torch.tensor(p / 20), end)) for p in range(21)]  # type: ignore[arg-type]
        assert curve == pytest.approx([end + (1 - end) * decay(p / 20) for p in range(21)], abs=1e-6)
        assert curve[0] == pytest.approx(1, abs=1e-6)
        assert curve[-1] == pytest.approx(end, abs=1e-6)
        assert curve == sorted(curve, reverse=True)


def test_schedule_values_at_half_progress() -> None:
    middle = torch.tensor(0.5)
    assert float(forcing_ratio("linear", middle, 0.0)) == pytest.approx(0.5)
    assert float(forcing_ratio("inverse_sigmoid", middle, 0.0)) == pytest.approx(0.5)
    assert float(forcing_ratio("exponential", middle, 0.0)) == pytest.approx(1 / 11, abs=1e-5)


@pytest.mark.parametrize("per", ["token", "sequence"])
@pytest.mark.parametrize(
    ("forcing", "end"), [(0.3, 0.0), (0, 0.0), ("linear", 0.2), ("exponential", 0.0), ("inverse_sigmoid", 0.0)]
)
def test_share_of_forced_tokens_follows_schedule(forcing: Any, end: float, per: str) -> None:
    task, model = make_task(forcing, end, per)
    torch.manual_seed(0)
    for progress in (0.0, 0.2, 0.5, 0.8, 0.99):
        task.progress.fill_(progress)
        expected = forcing if not isinstance(forcing, str) else float(forcing_ratio(forcing, task.progress, end))  # type: ignore[arg-type]
        target = random_targets(rows=1500)
        model.decoder_inputs.clear()
        task.loss(make_batch(target), "model")
        decoder_input = torch.cat(model.decoder_inputs, 1)
        assert (decoder_input[:, 0] == V).all()
        forced = decoder_input[:, 1:] == target[:, :-1]
        assert (forced | (decoder_input[:, 1:] == 0)).all()
        independent = 1500 * (7 if per == "token" else 1)
        margin = 4 * math.sqrt(max(expected * (1 - expected), 1e-9) / independent) + 1e-6
        assert float(forced.double().mean()) == pytest.approx(expected, abs=margin)
        all_or_none_share = (forced.all(1) | ~forced.any(1)).double().mean()
        if per == "sequence":
            assert all_or_none_share == 1
        elif 0.1 < expected < 0.9:
            assert all_or_none_share < 0.6


@pytest.mark.parametrize("forcing", [1, 1.0])
def test_full_forcing_is_one_pass_over_shifted_targets(forcing: Any) -> None:
    task, model = make_task(forcing)
    target = random_targets()
    task.loss(make_batch(target), "model")
    (decoder_input,) = model.decoder_inputs
    assert (decoder_input[:, 0] == V).all()
    assert torch.equal(decoder_input[:, 1:], target[:, :-1])


def make_run(*overrides: str) -> Lab:
    return lab("model=seq2seq", "data=reverse", "data.rows=200", "model.hidden_size=16", *overrides)


def test_scheduled_sampling_at_ratio_one_matches_teacher_forcing() -> None:
    run = make_run("task.teacher_forcing=linear")
    batch = next(run.loaders["train"].iter_epoch(0))
    run.task.progress.zero_()
    assert isinstance(run.task, Seq2Seq)
    torch.testing.assert_close(run.task.decode_scheduled_sampling(batch), run.task.decode_teacher_forced(batch))


def test_zero_forcing_matches_free_running_model() -> None:
    run = make_run("task.teacher_forcing=0")
    batch = next(run.loaders["train"].iter_epoch(0))
    assert isinstance(run.task, Seq2Seq)
    torch.testing.assert_close(run.task.decode_scheduled_sampling(batch), run.task.forward_batch(batch))


@pytest.mark.parametrize("forcing", ["0.5", "inverse_sigmoid"])
def test_the_loss_has_no_side_effects(forcing: str) -> None:
    run = make_run(f"task.teacher_forcing={forcing}")
    batch = next(run.loaders["train"].iter_epoch(0))
    run.task.progress.fill_(0.5)
    state_before = {name: value.clone() for name, value in run.task.state_dict().items()}
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        losses.append(run.task.loss(batch, "model"))
    assert torch.equal(*losses)
    assert not torch.equal(losses[0], run.task.loss(batch, "model"))
    assert all(torch.equal(value, state_before[name]) for name, value in run.task.state_dict().items())


@torch.no_grad()
def test_scores_count_tokens_and_rows_and_skip_ignored() -> None:
    task, _ = make_task(1.0, horizon=3)
    target = torch.tensor([[0, 0, 0], [0, 1, IGNORE_INDEX], [0, 0, IGNORE_INDEX], [IGNORE_INDEX] * 3])
    batch = make_batch(target)
    totals = task.score(batch)
    assert {name: int(value) for name, value in totals.items() if name != "nll"} == {  # type: ignore[arg-type]
        "tokens": 7,
        "rows": 3,
        "correct": 6,
        "exact": 2,
        "forced": 6,
    }
    assert int(task.num_loss_terms(batch)) == 7
    scores = task.metrics(totals)  # type: ignore[arg-type]
    assert scores.pop("nll") == pytest.approx(float(task.loss(batch, "model")))
    assert scores == pytest.approx({"token_accuracy": 6 / 7, "exact_match": 2 / 3, "forcing_gap": 0.0})
    assert task.shift_targets_right(target).tolist() == [[V, 0, 0], [V, 0, 1], [V, 0, 0], [V, V, V]]
    expected = nn.functional.cross_entropy(torch.eye(V)[:1].expand(7, V), target[target != IGNORE_INDEX])
    torch.testing.assert_close(task.loss(batch, "model"), expected)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (None, r"the val split has none"),
        (torch.zeros(3, 2), r"the val split has float32 \(3, 2\)"),
        (torch.zeros(3, dtype=torch.long), r"the val split has int64 \(3,\)"),
        (torch.tensor([[0, 1], [2, V]]), r"must be 0\.\.5; found 6 at row 1, step 1"),
        (torch.full((2, 2), IGNORE_INDEX), r"every val target token is -100"),
    ],
)
def test_invalid_targets_raise(target: Tensor | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_task(1.0)[0].validate_targets(target, "val")


def test_wrong_vocabulary_size_raises() -> None:
    task, model = make_task(1.0)
    model.bias = nn.Parameter(torch.zeros(V + 2))
    with pytest.raises(ConfigError, match=r"logits \(4, 3, 8\) do not fit targets \(4, 3\)"):
        task.score(make_batch(random_targets(4, 3)))


class ScriptedModel(nn.Module):
    """Model that writes 1 2 3 and the end token 0 for any source and prefix."""

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,)

    def decode(self, tokens: Tensor, memory: Any, state: Any = None) -> tuple[Tensor, tuple[Tensor, ...]]:
        steps = torch.arange(tokens.shape[1]) + (0 if state is None else state[0][:, :1])
        steps = steps.expand(tokens.shape)
        best = torch.tensor([1, 2, 3, 0, 4])[steps.clamp(max=4)]
        return nn.functional.one_hot(best, V).float() * 5, (steps[:, -1:] + 1,)

    def forward(self, x: Tensor) -> Tensor:
        return x


class LetterTokenizer:
    vocab_size = 5

    def encode(self, text: str) -> list[int]:
        return [" abcd".index(letter) for letter in text]

    def decode(self, tokens: Any) -> str:
        return "".join(" abcd"[token] for token in tokens)

    def decode_words(self, tokens: Any) -> list[str]:
        return list(self.decode(tokens))


def test_a_row_is_scored_up_to_its_end_token() -> None:
    task = Seq2Seq(ScriptedModel(), V, 12, 1.0, 0.0, "token", beam_size=3, length_penalty=1.0)
    task.sequence_metrics = SequenceMetrics(LetterTokenizer(), end=0)
    target = torch.tensor([[1, 2, 3, 0], [1, 2, 0, IGNORE_INDEX], [1, 2, 3, 4]])
    scores = task.metrics(task.score(make_batch(target)))  # type: ignore[arg-type]
    assert scores["exact_match"] == scores["beam_exact_match"] == pytest.approx(1 / 3)
    assert scores["token_accuracy"] == scores["beam_token_accuracy"] == pytest.approx(9 / 11)
    # abc against abc, ab and abcd, nine letters each: 8 of 9 letters, 5 of 6 pairs, 2 of 3 triples, no four to compare
    assert scores["bleu"] == 0
    counts = task.score(make_batch(target))["bleu"]
    assert counts.tolist() == [8, 5, 2, 0, 9, 6, 3, 0, 9, 9]  # type: ignore[union-attr]


def test_sample_uses_greedy_beam_or_random_decoding() -> None:
    task = Seq2Seq(ScriptedModel(), V, 12, 1.0, 0.0, "token", beam_size=1, length_penalty=1.0)
    task.tokenizer, task.sequence_metrics = LetterTokenizer(), SequenceMetrics(LetterTokenizer(), end=0)
    assert "".join(task.sample("dad")) == "".join(task.sample("dad", beam_size=3)) == "abc"
    samples = {"".join(task.sample("dad", temperature=9.0, top_k=4, seed=seed)) for seed in range(9)}
    assert len(samples) > 3
    assert "".join(task.sample("dad", temperature=9.0, top_k=1)) == "abc"
    assert "".join(task.sample("dad", temperature=9.0, seed=1)) == "".join(task.sample("dad", temperature=9.0, seed=1))
    with pytest.raises(ConfigError, match="give either beam_size or temperature"):
        list(task.sample("dad", beam_size=2, temperature=1.0))


def test_translations_are_shown_with_their_references() -> None:
    task = Seq2Seq(ScriptedModel(), V, 12, 1.0, 0.0, "token", beam_size=1, length_penalty=1.0)
    assert make_artifacts(task.make_artifacts([])) == {}, "tokens without a tokenizer have no text"
    task.tokenizer, task.sequence_metrics = LetterTokenizer(), SequenceMetrics(LetterTokenizer(), end=0)
    x = torch.tensor([[3, 1, 0], [2, 0, 0]])
    batch = Batch(
        {"x": x, "lengths": torch.tensor([2, 1])}, torch.tensor([[1, 2, 0], [3, 0, IGNORE_INDEX]]), torch.arange(2)
    )
    table = make_artifacts(task.make_artifacts([batch]))["translations"]
    assert isinstance(table, Table)
    decode = task.tokenizer.decode
    assert table.columns == ("row", "source", "written", "reference")
    assert list(table.rows) == [
        (0, decode([3, 1]), "abc", decode([1, 2])),
        (1, decode([2]), "abc", decode([3])),
    ]


SHORT = ("model=seq2seq", "data=reverse", "data.rows=2000", "data.length=4", "epochs=7", "batch_size=32")


@pytest.mark.parametrize(
    "options", [["task.teacher_forcing=1"], ["task.teacher_forcing=linear", "task.teacher_forcing_per=sequence"]]
)
@pytest.mark.slow
def test_reversal_is_learned_with_small_forcing_gap(options: list[str]) -> None:
    scores = lab(*SHORT, "model.hidden_size=64", *options).test()
    assert scores["token_accuracy"] > 0.95
    assert scores["exact_match"] > 0.9
    assert abs(scores["forcing_gap"]) < 0.05


@pytest.mark.slow
def test_unshifted_targets_are_copied_and_not_learned() -> None:
    run = lab(*SHORT, "model.hidden_size=64")
    assert isinstance(run.task, Seq2Seq)
    run.task.shift_targets_right = lambda target: target  # type: ignore[method-assign]
    scores = run.test()
    assert run.trainer.history[-1]["train_loss"] < 0.01
    assert scores["token_accuracy"] < 0.5
    assert scores["forcing_gap"] > 0.5
