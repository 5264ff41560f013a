"""Dynamic batching: rows of requests that arrive together are predicted in one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from trainer.core.prediction import to_plain_cells
from trainer.core.prediction_columns import Column

Predict = Callable[[list[Any]], Mapping[str, Column]]
"""Function from rows to the cells of each column, one per row."""


class _Request(NamedTuple):
    rows: list[Any]
    result: asyncio.Future[list[dict[str, Any]]]


class RequestBatcher:
    """Queue of requests, answered by one thread that predicts all waiting rows at once.

    A request waits for the batch that is running, not for others to arrive, so that a single client loses no time.

    Args:
        predict: Function that predicts rows.
        max_rows: Rows per call, unless a single request has more.
        independent: Whether rows of several requests may be predicted in one call.
    """

    def __init__(self, predict: Predict, max_rows: int = 256, *, independent: bool = True):
        self._predict = predict
        self._max_rows = max_rows if independent else 1
        self._waiting: asyncio.Queue[_Request] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1)

    async def predict(self, rows: list[Any]) -> list[dict[str, Any]]:
        """Return the prediction of each row, as cells by column.

        Args:
            rows: Rows of a request.

        Raises:
            UserError: The rows are invalid; other requests of the batch are not affected.
        """
        request = _Request(rows, asyncio.get_running_loop().create_future())
        await self._waiting.put(request)
        return await request.result

    async def run(self) -> None:
        """Answer requests until the task is canceled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                requests = [await self._waiting.get()]
                while not self._waiting.empty() and sum(len(each.rows) for each in requests) < self._max_rows:
                    requests.append(self._waiting.get_nowait())
                answers = await loop.run_in_executor(self._thread, self._answer, requests)
                for request, answer in zip(requests, answers, strict=True):
                    if not request.result.cancelled():
                        _set_answer(request.result, answer)
        finally:
            self._thread.shutdown(cancel_futures=True)

    def _answer(self, requests: Sequence[_Request]) -> list[list[dict[str, Any]] | Exception]:
        """Predict the rows of all requests; if that fails, those of each by itself."""
        try:
            table = to_records(self._predict([row for request in requests for row in request.rows]))
        except Exception as error:
            if len(requests) == 1:
                return [error]
            return [answer for request in requests for answer in self._answer([request])]
        if len(requests) == 1:
            return [table]
        assert len(table) == sum(len(request.rows) for request in requests), "independent rows have one prediction each"
        answers: list[list[dict[str, Any]] | Exception] = []
        for request in requests:
            answers.append(table[: len(request.rows)])
            table = table[len(request.rows) :]
        return answers


def _set_answer(future: asyncio.Future[list[dict[str, Any]]], answer: list[dict[str, Any]] | Exception) -> None:
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


def to_records(columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    """Return the rows of columns as plain values; NaN and infinity are None.

    Args:
        columns: Cells of each column, by title.
    """
    cells = [to_plain_cells(column) for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]
