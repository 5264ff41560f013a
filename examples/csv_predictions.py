"""Train on a CSV file, then predict the rows of another file with the saved model.

python examples/csv_predictions.py [TRAINING_FILE TARGET_COLUMN NEW_FILE]

Without arguments it writes a small table of houses first.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from pathlib import Path

import trainer


def write_houses(path: Path, rows: int, *, with_price: bool) -> None:
    """A table with a number, a category and, for training, the price to predict."""
    draw = random.Random(path.name)
    names = ["area", "district", *(["price"] if with_price else [])]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, extrasaction="ignore")
        writer.writeheader()
        for _ in range(rows):
            area, district = draw.randrange(40, 200), draw.choice(["north", "south", "west"])
            price = 3000 * area + 50_000 * (district == "south") + draw.gauss(0, 5000)
            writer.writerow({"area": area, "district": district, "price": round(price)})


def main(arguments: list[str]) -> list[float]:
    usage = "csv_predictions.py [TRAINING_FILE TARGET_COLUMN NEW_FILE]"
    parser = argparse.ArgumentParser("csv_predictions.py", usage, __doc__)
    parser.add_argument("files", nargs="*", help=argparse.SUPPRESS)
    files = parser.parse_args(arguments).files
    if files:
        if len(files) != 3:
            parser.error("give all three arguments, or none")
        table, target, new = Path(files[0]), files[1], Path(files[2])
    else:
        table, target, new = Path("houses.csv"), "price", Path("new_houses.csv")
        write_houses(table, rows=400, with_price=True)
        write_houses(new, rows=5, with_price=False)
    config = trainer.compose(
        ["model=mlp", "data=csv", f"data.path={table}", f"data.target={target}", "task=regression", "epochs=60"]
    )
    result = trainer.run(config)
    predictions: list[float] = trainer.load(result.run_dir).predict(new).tolist()
    for number, value in enumerate(predictions, start=1):
        print(f"row {number}: {value:,.0f}")
    return predictions


if __name__ == "__main__":
    main(sys.argv[1:])
