"""Tasks of ensembles: outputs, predictions and weights of several models, on every kind of supervised data."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.helpers.pairs import Pair, make_pair
from trainer.core.batch import Batch
from trainer.core.output_averaging import CandidateChooser
from trainer.core.task import Task
from trainer.engine import ensemble

PAIRS = (
    ("mlp", "moons"),
    ("mlp", "xor20"),
    ("gcn", "sbm"),
    ("graph_net", "esol_like"),
    ("unet", "digit_canvas"),
    ("lstm", "adding"),
    ("dlinear", "sine_trend"),
    ("text_gru", "temporal_order"),
    ("link_predictor", "sbm_pairs"),
)
NUM_MEMBERS = 3


def make_ensemble(pair: Pair) -> tuple[Task, list[Task]]:
    """Return the task of an ensemble and those of its members, with their weights."""
    config = pair.config
    names = config.names
    members = [ensemble.make_task(config.tree, pair.data, names).eval() for _ in range(NUM_MEMBERS)]
    task = ensemble.make_task({**config.tree, "ensemble": NUM_MEMBERS}, pair.data, names)
    task.load_state_dict(ensemble.join_weights([member.state_dict() for member in members]))
    return task.eval(), members


def load_batch(pair: Pair) -> Batch:
    return next(iter(pair.loaders["test"].iter_epoch(0)))


@pytest.mark.parametrize(("model", "data"), PAIRS)
@torch.no_grad()
def test_predictions_are_the_means_of_those_of_the_members(model: str, data: str) -> None:
    pair = make_pair(model, data)
    task, members = make_ensemble(pair)
    batch = load_batch(pair)
    predicted, parts = task.predict(batch), [member.predict(batch) for member in members]
    name = "probabilities" if "probabilities" in predicted else "value"
    mean = torch.stack([part[name] for part in parts]).mean(0)
    torch.testing.assert_close(predicted[name], mean, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(predicted[name], parts[0][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("model", "data"), PAIRS)
@torch.no_grad()
def test_the_outputs_of_the_members_are_those_of_their_tasks(model: str, data: str) -> None:
    pair = make_pair(model, data)
    task, members = make_ensemble(pair)
    batch = load_batch(pair)
    outputs = ensemble.compute_member_outputs(task, batch)
    for output, member in zip(outputs, members, strict=True):
        torch.testing.assert_close(output, member.forward_batch(batch))
    score = task.score(replace(batch, output=outputs[1]))
    for name, value in members[1].score(batch).items():
        expected, actual = (each.values if isinstance(each, tuple) else each for each in (value, score[name]))
        torch.testing.assert_close(actual, expected)


@torch.no_grad()
def test_ranks_are_those_of_the_mean_probabilities() -> None:
    pair = make_pair("distmult", "triples")
    task, members = make_ensemble(pair)
    for each in (task, *members):
        each.double()  # in single precision, rounded scores of an untrained model are equal
    batch = load_batch(pair)
    mean = torch.stack([member.forward_batch(batch).softmax(1) for member in members]).mean(0)
    expected = members[0].predict(replace(batch, output=mean.log()))
    assert torch.equal(task.predict(batch)["rank"], expected["rank"])
    torch.testing.assert_close(task.forward_batch(batch).softmax(1), mean)


def test_a_run_of_one_model_has_its_task() -> None:
    pair = make_pair("mlp", "moons")
    task = ensemble.make_task(pair.config.tree, pair.data, pair.config.names)
    assert task.state_dict().keys() == pair.task.state_dict().keys()
    one = ensemble.make_task({**pair.config.tree, "ensemble": 1}, pair.data, pair.config.names)
    assert one.state_dict().keys() == ensemble.join_weights([task.state_dict()]).keys()


@torch.no_grad()
def test_first_candidates_are_those_that_the_rank_counts() -> None:
    pair = make_pair("distmult", "triples")
    batch, task = load_batch(pair), pair.task
    scores = torch.randn(len(batch), pair.data.info.num_classes, generator=torch.Generator().manual_seed(0))
    known = torch.stack((batch.require_target(), scores.argmax(1)), 1)
    batch = replace(batch, inputs={"known": known}, output=scores)
    assert isinstance(task, CandidateChooser)
    chosen = task.choose_candidates(batch)
    ranks = task.predict(batch)["rank"]
    assert torch.equal(chosen == batch.require_target(), ranks == 1)
    for row, candidate in enumerate(chosen.tolist()):
        known = {*batch.inputs["known"][row].tolist()} - {int(batch.require_target()[row])}
        assert candidate == max(
            (number for number in range(scores.shape[1]) if number not in known), key=scores[row].__getitem__
        )
    assert not torch.equal(chosen, scores.argmax(1))  # without the filter
