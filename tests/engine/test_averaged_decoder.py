"""Ensembles of models that write tokens: scores, generation and beam search by the mean probability of each token."""

from __future__ import annotations

import math
from typing import cast

import pytest
import torch
from torch import Tensor

from tests.helpers.pairs import Pair, make_pair
from trainer.config import ensemble_keys, registry
from trainer.core import decoding
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.output_averaging import TokenChooser
from trainer.core.task import Task
from trainer.engine import ensemble
from trainer.runs.ensemble_scores import measure_diversity
from trainer.tasks.language import Language
from trainer.tasks.seq2seq import Seq2Seq

TRANSLATORS = ("seq2seq", "transformer_seq2seq")
NUM_MEMBERS = 3


def make_tasks(pair: Pair) -> tuple[Task, list[Task]]:
    """Return the task of an ensemble and those of its members, whose weights are large enough to differ."""
    tree, names = pair.config.tree, pair.config.names
    members = [ensemble.make_task(tree, pair.data, names).eval() for _ in range(NUM_MEMBERS)]
    for member in members:
        for parameter in member.parameters():
            parameter.data *= 3
    task = ensemble.make_task({**tree, "ensemble": NUM_MEMBERS}, pair.data, names)
    task.load_state_dict(ensemble.join_weights([member.state_dict() for member in members]))
    return task.eval(), members


def load_batch(pair: Pair) -> Batch:
    return next(iter(pair.loaders["test"].iter_epoch(0)))


def mean_probabilities(members: list[Task], batch: Batch, tokens: Tensor) -> Tensor:
    """Return the mean probabilities (B, T, V) of the token after each of ``tokens``, of whole sequences."""
    each = [cast(Seq2Seq, member) for member in members]
    logits = [one._encoder_decoder.decode(tokens, one._encode_batch(batch), None)[0] for one in each]
    return torch.stack([value.softmax(-1) for value in logits]).mean(0)


@pytest.mark.parametrize("model", TRANSLATORS)
@torch.no_grad()
def test_a_translation_is_scored_by_mean_probabilities(model: str) -> None:
    pair = make_pair(model, "reverse")
    task, members = make_tasks(pair)
    batch = load_batch(pair)
    target = batch.require_target()
    tokens = cast(Seq2Seq, task).shift_targets_right(target)
    mean = mean_probabilities(members, batch, tokens)
    expected = -mean.gather(2, target[..., None]).log().sum()
    score = task.score(batch)
    assert float(cast(Tensor, score["nll"])) == pytest.approx(float(expected), rel=1e-4)
    assert int(cast(Tensor, score["forced"])) == int((mean.argmax(-1) == target).sum())


@pytest.mark.parametrize("model", TRANSLATORS)
@torch.no_grad()
def test_each_step_of_a_generation_takes_the_token_of_the_highest_mean(model: str) -> None:
    pair = make_pair(model, "reverse")
    task, members = make_tasks(pair)
    batch = load_batch(pair)
    seq2seq = cast(Seq2Seq, task)
    tokens = torch.full((len(batch), 1), seq2seq.vocab_size)
    for _ in range(seq2seq.horizon):
        chosen = mean_probabilities(members, batch, tokens)[:, -1].argmax(-1)
        tokens = torch.cat((tokens, chosen[:, None]), 1)
    generated = seq2seq.generate(batch)
    assert torch.equal(generated, tokens[:, 1:])
    assert not torch.equal(generated, cast(Seq2Seq, members[0]).generate(batch))


@torch.no_grad()
def test_beam_search_sums_the_logs_of_mean_probabilities() -> None:
    pair = make_pair("transformer_seq2seq", "reverse")
    task, members = make_tasks(pair)
    batch = load_batch(pair)
    seq2seq = cast(Seq2Seq, task)

    class Naive:
        """Decoder that keeps the tokens so far as its state, and decodes all of them with every member."""

        def decode(
            self, tokens: Tensor, memory: tuple[Tensor, ...], state: tuple[Tensor, ...] | None = None
        ) -> tuple[Tensor, tuple[Tensor, ...]]:
            tokens = tokens if state is None else torch.cat((state[0], tokens), 1)
            rows = memory[0]
            part = Batch({name: value[rows] for name, value in batch.inputs.items()}, None, batch.index[rows])
            return mean_probabilities(members, part, tokens)[:, -1:].log(), (tokens,)

    start = torch.full((len(batch), 1), seq2seq.vocab_size)
    expected = decoding.beam_search(Naive(), (torch.arange(len(batch)),), start, seq2seq.horizon, 3)
    assert torch.equal(seq2seq.generate(batch, 3), expected)


@pytest.mark.parametrize("model", ["char_lstm", "gpt"])
@torch.no_grad()
def test_a_text_is_continued_by_mean_probabilities(model: str) -> None:
    pair = make_pair(model, "text_file")
    task, members = make_tasks(pair)
    batch = load_batch(pair)
    target = batch.require_target()
    mean = torch.stack([member.forward_batch(batch).softmax(-1) for member in members]).mean(0)
    expected = -mean.gather(2, target.clamp(min=0)[..., None]).log()[target != IGNORE_INDEX].sum()
    assert float(cast(Tensor, task.score(batch)["nll"])) == pytest.approx(float(expected), rel=1e-4)
    generated = cast(Language, task).predict(batch, length=1)["tokens"]
    last = mean[:, -1].clone()
    unknown = pair.data.info.text.tokenizer.unknown_id
    last[:, [] if unknown is None else [unknown]] = -math.inf
    assert torch.equal(generated[:, 0], last.argmax(-1))


@torch.no_grad()
def test_diversity_is_the_share_of_other_tokens() -> None:
    pair = make_pair("seq2seq", "reverse")
    task, members = make_tasks(pair)
    chosen, valid = [], []
    for batch in pair.loaders["test"].iter_epoch(0):
        chosen.append(torch.stack([cast(TokenChooser, member).choose_tokens(batch) for member in members]))
        valid.append(batch.require_target() != IGNORE_INDEX)
    tokens, is_valid = torch.cat(chosen, 1), torch.cat(valid)
    pairs = [(tokens[a] != tokens[b])[is_valid].double().mean() for a, b in ((0, 1), (0, 2), (1, 2))]
    settings = pair.config.settings
    found = measure_diversity(task, pair.loaders["test"], settings, pair.data.info.target)
    assert found == {"token_disagreement": pytest.approx(float(sum(pairs) / 3))}
    assert found["token_disagreement"] > 0.1
    assert isinstance(task.model, ensemble.AveragedDecoder)  # as before


def test_generative_tasks_have_no_ensemble() -> None:
    averaged = {"classification", "regression", "ranking", "seq2seq", "language"}
    options = registry.list_options("task")
    found = {name for name, option in options.items() if ensemble_keys.can_average(option.class_path or "")}
    assert averaged <= found
    assert not found & {"gan", "vae", "vq_vae", "diffusion", "flow_matching", "density"}
