"""Requests per second of ``train serve``: concurrent clients, whose rows are batched, against one by one.

    python -m tests.bench.serve

First of the batching alone, with batches of at most one row for comparison; then of a server over HTTP, with one client
and with ``HTTP_CLIENTS`` at once, where the protocol takes most of the time.
"""

from __future__ import annotations

import asyncio
import json
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

import trainer
from tests.helpers import commands
from trainer.inference.request_batching import RequestBatcher

REQUESTS, ROUNDS, CLIENTS, HTTP_CLIENTS = 400, 5, 64, 16
OVERRIDES = ["model=mlp", "data=csv", "data.target=y", "epochs=1", "draw=false", "threads=1", "model.hidden=[256,256]"]


def write_table(path: Path) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(2000, 8))
    lines = [",".join([*(f"x{column}" for column in range(8)), "y"])]
    lines += [",".join([*map(str, row.round(4)), "yes" if row.sum() > 0 else "no"]) for row in x]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


async def answer_requests(model: trainer.TrainedModel, max_rows: int) -> float:
    """Return the requests per second of ``CLIENTS`` clients, each of which waits for its answer."""
    batcher = RequestBatcher(model.predict_columns, max_rows)
    worker = asyncio.create_task(batcher.run())
    row = {f"x{column}": 0.5 for column in range(8)}

    async def send(count: int) -> None:
        for _ in range(count):
            await batcher.predict([row])

    start = time.perf_counter()
    await asyncio.gather(*(send(REQUESTS // CLIENTS) for _ in range(CLIENTS)))
    seconds = time.perf_counter() - start
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    return REQUESTS // CLIENTS * CLIENTS / seconds


@contextmanager
def start_server(run: str) -> Iterator[str]:
    """Yield the address of a server process of a run, which ends with the block."""
    words = commands.argv("serve", run, "port=0")
    process = subprocess.Popen(words, env=commands.environment(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = next(found[0] for line in process.stdout if (found := re.search(r"127\.0\.0\.1:\d+", line)))
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=60)


def send_requests(address: str, count: int) -> None:
    """Send requests of one row over one connection, each after the answer to the one before."""
    body = json.dumps([dict.fromkeys((f"x{column}" for column in range(8)), 0.5)])
    connection = HTTPConnection(address, timeout=60)
    for _ in range(count):
        connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        assert response.status == 200, response.read()
        response.read()
    connection.close()


def measure_http_rate(address: str, clients: int) -> float:
    """Return the requests per second of concurrent clients."""
    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda _: send_requests(address, REQUESTS // clients), range(clients)))
    return REQUESTS // clients * clients / (time.perf_counter() - start)


def compare_over_http(run: str) -> None:
    with start_server(run) as address:
        send_requests(address, 20)
        rates: dict[int, list[float]] = {1: [], HTTP_CLIENTS: []}
        for _ in range(ROUNDS):
            for clients, values in rates.items():
                values.append(measure_http_rate(address, clients))
    single, many = (statistics.median(values) for values in rates.values())
    print(f"requests/s over HTTP: 1 client {single:.0f}, {HTTP_CLIENTS} clients {many:.0f}, ratio {many / single:.1f}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "table.csv")
        write_table(table)
        paths = [f"data.path={table}", f"hydra.run.dir={folder}/run"]
        model = trainer.load(trainer.run(trainer.compose([*OVERRIDES, *paths]), quiet=True).run_dir)
        rates: dict[int, list[float]] = {1: [], 256: []}
        for _ in range(ROUNDS):
            for max_rows, values in rates.items():
                values.append(asyncio.run(answer_requests(model, max_rows)))
        compare_over_http(str(model.config.run_dir))
    single, batched = (statistics.median(values) for values in rates.values())
    print(
        f"requests/s of {CLIENTS} clients: one by one {single:.0f}, batched {batched:.0f}, ratio {batched / single:.1f}"
    )


if __name__ == "__main__":
    main()
