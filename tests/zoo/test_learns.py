"""Small versions of the gates that ``make gates`` runs at full size."""

from __future__ import annotations

import pytest

from tests.helpers.lab import lab
from trainer.metrics.registry import is_better

SMALL_SEQ = ("data=synthetic_seq", "data.rows=4000")
GATES = {
    "mlp, logit20": (("model=mlp", "data=synthetic_tabular"), "accuracy", 0.87),
    "mlp, moons": (("model=mlp", "data=moons"), "accuracy", 0.95),
    "rnn": (("model=rnn", *SMALL_SEQ, "epochs=10"), "accuracy", 0.84),
    "lstm": (("model=lstm", *SMALL_SEQ, "epochs=6"), "accuracy", 0.84),
    "gru": (("model=gru", *SMALL_SEQ, "epochs=6"), "accuracy", 0.84),
    "birnn": (("model=birnn", *SMALL_SEQ, "epochs=6"), "accuracy", 0.84),
    "nested_rnn": (("model=nested_rnn", *SMALL_SEQ, "epochs=8"), "accuracy", 0.84),
    "forecaster": (("model=gru_forecaster", "data=sine_trend", "epochs=10"), "r2", 0.9),
    "cnn, gratings": (("model=cnn", "data=gratings", "data.rows=3000", "epochs=4"), "accuracy", 0.9),
    "cnn, digits": (("model=cnn", "data=digits", "data.size=12", "epochs=12", "augment=none"), "accuracy", 0.93),
    "unet": (
        ("model=unet", "model.widths=[16,32]", "data=digit_canvas", "data.rows=1000", "epochs=10", "optimizer.lr=5e-3"),
        "mean_iou",
        0.3,
    ),
    "gcn": (("model=gcn", "data=sbm"), "accuracy", 0.75),
    "gat": (("model=gat", "data=sbm", "epochs=100"), "accuracy", 0.75),
    "seq2seq": (("model=seq2seq", "data=reverse", "data.length=5", "epochs=6"), "token_accuracy", 0.9),
    "vae": (("model=vae", "data=linear_gaussian", "data.rows=6000", "epochs=20"), "elbo", -25.0),
}


@pytest.mark.slow
@pytest.mark.parametrize("gate", GATES)
def test_model_reaches_gate(gate: str) -> None:
    overrides, score, threshold = GATES[gate]
    run = lab(*overrides)
    scores = run.test()
    assert scores[score] > threshold
    monitored = run.trainer.monitor_metric
    assert is_better(scores[monitored.name], run.data.info.baseline[monitored.name], monitored), (
        "no better than the baseline"
    )


@pytest.mark.slow
def test_wasserstein_gan_finds_every_mode() -> None:
    scores = lab("model=wgan_gp", "data=ring", "epochs=30", "val_every=5").test()
    assert scores["modes"] == 8
    assert scores["energy_distance"] < 0.06
