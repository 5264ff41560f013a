"""Tables of exports in the README and ``docs/exports.md``, which the gate writes."""

from __future__ import annotations

from pathlib import Path

from tests.gates.export import FAMILIES, GATES, PAGE, README
from tests.helpers.pairs import MODELS


def read_cells(path: Path, name: str) -> list[list[str]]:
    """Return the cells of a table between its markers, without the two lines of its header."""
    text = path.read_text(encoding="utf-8")
    lines = text.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_families_of_readme_and_page_are_those_of_the_models() -> None:
    families = read_cells(README, "export families")
    assert families == read_cells(PAGE, "export families")
    assert [row[0] for row in families] == list(FAMILIES.values())
    packages = [str(option.class_path).split(".")[2] for option in MODELS.values()]
    assert [int(row[1]) for row in families] == [packages.count(family) for family in FAMILIES]


def test_page_lists_every_model_and_enough_of_them_export() -> None:
    models = read_cells(PAGE, "exported models")
    assert [row[0] for row in models] == list(MODELS)
    for column, (name, least) in enumerate(GATES.items(), 2):
        exported = [row for row in models if row[column][0].isdigit()]
        assert len(exported) >= least, name
        assert max(float(row[column]) for row in exported) <= 1e-4
        total = sum(int(row[column]) for row in read_cells(PAGE, "export families"))
        assert total == len(exported)
