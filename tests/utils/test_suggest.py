"""Names suggested for a misspelled one."""

from __future__ import annotations

import pytest

from trainer.utils import suggest


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("lstmm", ["lstm", "bilstm", "gru"], "lstm"),
        ("ltsm", ["lstm", "mlp"], "lstm"),
        ("rl", ["lr", "eps"], "lr"),
        ("hiden", ["hidden", "dropout"], "hidden"),
        ("optim", ["optimizer", "model"], "optimizer"),
        ("mod", ["model", "modeltype"], "model"),
        ("LSTM", ["gru", "lstm"], "lstm"),
        ("adamW", ["adam", "adamw"], "adamw"),
        ("price", ["size", "Price"], "Price"),
        ("slurm", ["basic", "joblib", "submitit_slurm"], "submitit_slurm"),
        ("rate", ["dropout_rate", "rates"], "rates"),
        ("zzz", ["lstm", "gru"], None),
        ("x", ["xor20"], None),
        ("", ["lstm"], None),
    ],
)
def test_nearest_name_is_found_and_suggested(word: str, known: list[str], expected: str | None) -> None:
    assert suggest.find_nearest(word, known) == expected
    assert suggest.did_you_mean(word, known) == (f"; did you mean {expected}?" if expected else "")


def test_prefix_is_prepended_to_the_suggestion() -> None:
    assert suggest.did_you_mean("hiden", ["hidden"], "model.") == "; did you mean model.hidden?"
    assert suggest.did_you_mean("zzz", ["hidden"], "model.") == ""


def test_all_names_that_contain_the_word_are_suggested() -> None:
    names = ["keep_last", "epochs", "keep_best", "keeper", "worker_timeout", "process_timeout"]
    assert suggest.did_you_mean("keep", names) == "; did you mean keeper?"
    names.remove("keeper")
    assert suggest.did_you_mean("keep", names, "x.") == "; did you mean x.keep_last or x.keep_best?"
    assert suggest.did_you_mean("Timeout", names) == "; did you mean worker_timeout or process_timeout?"
    assert suggest.format_suggestion(["a", "b", "c"]) == "; did you mean a, b or c?"
