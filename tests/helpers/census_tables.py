"""Tables with the columns of the Adult data set: six numbers and eight categories, of its rows or of generated ones."""

from __future__ import annotations

import random
from pathlib import Path

from tests.helpers.real_data import FOLDER

NUMBERS = {
    **{"age": (17, 90), "weight": (12_000, 1_500_000), "education_years": (1, 16)},
    **{"gain": (0, 99_999), "loss": (0, 4_356), "hours": (1, 99)},
}
CATEGORIES = {
    **{"workclass": 8, "education": 16, "marital": 7, "occupation": 14},
    **{"relationship": 6, "race": 5, "sex": 2, "country": 41},
}
TARGET = "income"


def read_rows(count: int) -> list[str]:
    """Return lines of cells in the order of the columns, with the target last: those of the data set, or generated."""
    path = FOLDER / "adult" / "adult-train.csv"
    if path.is_file():
        lines = [line.replace(", ", ",") for line in path.read_text().splitlines() if line]
        return [lines[row % len(lines)] for row in range(count)]
    draw = random.Random(0)
    rows = []
    for _ in range(count):
        numbers = [draw.randint(*bounds) for bounds in NUMBERS.values()]
        names = [f"{title}-{draw.randrange(size)}" for title, size in CATEGORIES.items()]
        rows.append(",".join([*map(str, numbers), *names, ">50K" if numbers[0] + draw.gauss(0, 20) > 60 else "<=50K"]))
    return rows


def read_titles() -> list[str]:
    """Return the titles of the columns of ``read_rows``."""
    if not (FOLDER / "adult" / "adult-train.csv").is_file():
        return [*NUMBERS, *CATEGORIES, TARGET]
    number, category = iter(NUMBERS), iter(CATEGORIES)
    kinds = "nCnCnCCCCCnnnC"  # of the columns of the data set: n is a number
    return [*(next(number) if kind == "n" else next(category) for kind in kinds), TARGET]


def write_table(path: Path, count: int, *, has_target: bool = True) -> Path:
    """Write a table of rows with a header."""
    rows, titles = read_rows(min(count, 50_000)), read_titles()
    if not has_target:
        rows, titles = [row.rpartition(",")[0] for row in rows], titles[:-1]
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(titles) + "\n")
        for start in range(0, count, len(rows)):
            file.write("\n".join(rows[: count - start]) + "\n")
    return path
