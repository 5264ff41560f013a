"""Class weights and a threshold on a table with a rare class: the small version of ``tests.gates.rare_class``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.gates.rare_class import compare
from tests.helpers.rare_class import SHARE, make_rare_class_table


@pytest.mark.slow
def test_scores_are_above_those_of_logistic_regression(tmp_path: Path) -> None:
    for score, *references in compare(tmp_path, 4000, 0, "epochs=6", "optimizer.lr=1e-2").values():
        assert score > max(references) + 0.05


def test_table_has_a_rare_class_in_every_part(tmp_path: Path) -> None:
    x, y = make_rare_class_table(tmp_path / "t.csv", 1000, 0)
    assert [len(rows) for rows in x.values()] == [600, 200, 200]
    assert np.concatenate(list(y.values())).mean() == pytest.approx(SHARE)
    assert all(classes.any() for classes in y.values())
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1001
