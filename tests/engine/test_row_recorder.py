"""Recorder of row terms: bits of the metrics, processes, and metrics that the terms do not give."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import lab
from tests.helpers.process_groups import run_processes
from trainer.core.batch import Batch
from trainer.engine import evaluation, row_recorder
from trainer.engine.process_group import ProcessGroup
from trainer.engine.row_recorder import RecordedRows, RowRecorder
from trainer.tasks.classification import Classification
from trainer.tasks.evaluation.row_terms import make_class_terms, make_error_terms

MLP = ("model=mlp", "data=moons", "data.rows=300", "model.hidden=[4]")


def record(group: ProcessGroup | None = None, rows: int = 37) -> tuple[dict[str, float], RecordedRows | None]:
    run = lab(*MLP, "batch_size=2")
    loader = run.loaders["test"]
    loader.make_batch_order = lambda _: [*torch.arange(rows).flip(0).split(5)]
    recorder = RowRecorder()
    scores = evaluation.evaluate_split(run.task, loader, run.settings, None, group, recorder)
    assert scores == evaluation.evaluate_split(run.task, loader, run.settings), "recording changes no bit"
    return scores, recorder.collect(scores)


def test_rows_are_recorded_in_their_order() -> None:
    scores, recorded = record()
    assert recorded is not None
    assert recorded.rows.tolist() == [*range(37)]
    for name in ("accuracy", "nll"):
        terms = recorded.terms[name]
        assert float(terms.numerators.mean()) == pytest.approx(scores[name], rel=1e-6)
        assert terms.denominators.tolist() == [1] * 37
    assert "f1" in scores
    assert "f1" not in recorded.terms


def test_two_processes_record_all_rows() -> None:
    def record_numbers(group: ProcessGroup) -> list[float]:
        _, recorded = record(group)
        assert recorded is not None
        return [*recorded.rows.tolist(), *recorded.terms["nll"].numerators.tolist()]

    (expected,) = run_processes(1, record_numbers)
    assert run_processes(2, record_numbers) == [expected] * 2


def test_too_many_rows_are_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_recorder, "MAX_ROWS", 36)
    assert record()[1] is None


def test_a_metric_that_a_subclass_computes_otherwise_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    compute = Classification.metrics

    def compute_other_accuracy(self: Classification, totals: dict[str, Tensor]) -> dict[str, float]:
        scores = compute(self, totals)
        return scores | {"accuracy": scores["accuracy"] * 0.9}

    monkeypatch.setattr(Classification, "metrics", compute_other_accuracy)
    recorded = record()[1]
    assert recorded is not None
    assert recorded.terms.keys() == {"nll"}


def test_ignored_positions_are_in_no_term() -> None:
    logits = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[0, 1, -100, 1], [-100, -100, -100, -100], [1, 1, 0, 0]])
    terms = make_class_terms(logits, logits.argmax(1), target)
    assert terms["nll"].denominators.tolist() == [3, 0, 4]
    assert terms["nll"].numerators[1] == 0
    expected = torch.nn.functional.cross_entropy(logits, target, ignore_index=-100)
    assert float(terms["nll"].numerators.sum() / 7) == pytest.approx(float(expected), rel=1e-6)


def test_terms_of_residuals() -> None:
    error = torch.tensor([[1.0, -3.0], [0.0, 2.0]])
    terms = make_error_terms(error)
    assert terms["mse"].numerators.tolist() == [10.0, 4.0]
    assert terms["mse"].denominators.tolist() == [2.0, 2.0]
    assert terms["mae"].numerators.tolist() == [4.0, 2.0]
    assert terms["rmse"].transform == "sqrt"


def test_an_order_of_targets_changes_their_checksum() -> None:
    first, second = (row_recorder._sum_targets(torch.tensor([values])) for values in ([1, 2], [2, 1]))
    assert float(first) != float(second)


def test_a_batch_keeps_its_precomputed_output() -> None:
    task = lab(*MLP).task
    batch = Batch({}, torch.tensor([0, 1]), torch.arange(2), output=torch.tensor([[2.0, 0.0], [0.0, 1.0]]))
    recorder = RowRecorder()
    totals = recorder.wrap_score(task)(batch)
    assert {"row_recorder/rows", "row_recorder/nll/numerators"} <= totals.keys()
