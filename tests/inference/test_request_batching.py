"""Tests of dynamic batching."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from trainer.core.prediction_columns import Column
from trainer.inference.request_batching import RequestBatcher, to_records
from trainer.utils.errors import ConfigError


class Doubler:
    """Prediction function that records the size of every batch."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, rows: list[Any]) -> Mapping[str, Column]:
        self.sizes.append(len(rows))
        if None in rows:
            raise ConfigError("row: None given")
        return {"double": [2 * row for row in rows]}


def answer_all(batcher: RequestBatcher, requests: list[list[Any]]) -> list[Any]:
    async def run() -> list[Any]:
        waiting = [asyncio.create_task(batcher.predict(rows)) for rows in requests]
        await asyncio.sleep(0)
        worker = asyncio.create_task(batcher.run())
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        return answers

    return asyncio.run(run())


def test_waiting_requests_are_predicted_together_and_divided() -> None:
    predict = Doubler()
    answers = answer_all(RequestBatcher(predict), [[1, 2], [3], [4, 5, 6]])
    assert [[row["double"] for row in rows] for rows in answers] == [[2, 4], [6], [8, 10, 12]]
    assert predict.sizes == [6]


def test_invalid_rows_fail_only_their_own_request() -> None:
    first, second, third = answer_all(RequestBatcher(Doubler()), [[1], [None], [3]])
    assert first == [{"double": 2}]
    assert third == [{"double": 6}]
    assert isinstance(second, ConfigError)


@pytest.mark.parametrize(("max_rows", "independent", "sizes"), [(2, True, [2, 2]), (9, False, [2, 1, 1])])
def test_batches_are_limited(max_rows: int, independent: bool, sizes: list[int]) -> None:
    predict = Doubler()
    answer_all(RequestBatcher(predict, max_rows, independent=independent), [[1, 2], [3], [4]])
    assert predict.sizes == sizes


def test_records_are_plain_values() -> None:
    assert to_records({"a": np.array([1.5, np.nan]), "b": ["x", "y"]}) == [{"a": 1.5, "b": "x"}, {"a": None, "b": "y"}]
