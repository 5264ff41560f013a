"""Requests per second of ``train serve``: concurrent clients, whose rows are batched, against one client at a time.

python -m tests.bench.serve
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

import trainer
from trainer.inference.request_batching import RequestBatcher

REQUESTS, ROUNDS, CLIENTS = 400, 5, 64
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
    single, batched = (statistics.median(values) for values in rates.values())
    print(
        f"requests/s of {CLIENTS} clients: one by one {single:.0f}, batched {batched:.0f}, ratio {batched / single:.1f}"
    )


if __name__ == "__main__":
    main()
