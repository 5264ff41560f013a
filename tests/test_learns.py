"""Every entry of the foundation learns: small twins of the gates that ``make gates`` runs at full size."""

from __future__ import annotations

import pytest
from conftest import lab


@pytest.mark.parametrize("model", ["lstm"])
def test_sequences_beat_reading_the_last_step(model: str) -> None:
    scores = lab(f"model={model}", "data=synthetic_seq", "data.rows=4000", "epochs=6").test()
    assert scores["accuracy"] > 0.84
