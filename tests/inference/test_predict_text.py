"""Predictions for texts: classes of documents, translations of lines, continuations of prompts."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.marks import mark_slow_after
from tests.helpers.predictions import MovedRuns, Rows, are_close, predict, predict_lines
from trainer.cli import main
from trainer.core.batch import Batch
from trainer.core.prediction import Prediction
from trainer.core.tokenizer import UNKNOWN_TOKEN
from trainer.data.encoding.word_splitting import split_words
from trainer.metrics.bleu import corpus_bleu, count_bleu_ngrams
from trainer.tasks.seq2seq import Seq2Seq
from trainer.utils.errors import ConfigError

DRAW = random.Random(0)
WORDS = ["fine", "nice", "warm", "cold", "wet", "dark"]
LINES = [" ".join(DRAW.choices(WORDS, k=DRAW.randint(1, 12))) for _ in range(40)]
RUNS = {
    "pairs": ("pairs", "model=transformer_seq2seq"),
    "text_folder": ("text_folder", "model=text_lstm"),
    "text_file": ("text_file", "data.seq_len=16"),
    "lstm_pairs": ("pairs", "model=seq2seq"),
    "gpt_file": ("text_file", "model=gpt", "data.tokens=words", "data.seq_len=8"),
}
OPTIONS = {
    "text_file": ["length=12"],
    "gpt_file": ["length=5", "temperature=0.7", "seed=3"],
    "lstm_pairs": ["beam_size=3"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> MovedRuns:
    return MovedRuns(RUNS, tmp_path_factory.mktemp)


def without_number(rows: Rows) -> Rows:
    return [{key: value for key, value in row.items() if key != "line"} for row in rows]


def average(rows: Rows) -> float:
    return float(np.mean([row["target"] == row.get("label", row.get("text")) for row in rows]))


@pytest.mark.slow
@pytest.mark.parametrize("name", mark_slow_after(1, RUNS))
def test_predictions_of_a_line_do_not_depend_on_the_others(name: str, runs: MovedRuns) -> None:
    path, options = runs[name].path, OPTIONS.get(name, [])
    rows = predict_lines(path, LINES, *options)
    assert [row["line"] for row in rows] == list(range(1, len(LINES) + 1))
    for batch_size in (1, 7):
        assert are_close(predict_lines(path, LINES, f"batch_size={batch_size}", *options), rows)
    order = DRAW.sample(range(len(LINES)), len(LINES))
    shuffled = predict_lines(path, [LINES[k] for k in order], *options)
    assert are_close(without_number(shuffled), without_number([rows[k] for k in order]))


@pytest.mark.slow
def test_bleu_and_exact_match_of_the_predicted_file_are_reported(runs: MovedRuns) -> None:
    run = runs["pairs"]
    pairs = [(split_words(row["text"]), split_words(row["target"])) for row in run.test_rows]
    counts = np.sum([count_bleu_ngrams(*pair, UNKNOWN_TOKEN) for pair in pairs], axis=0)
    assert corpus_bleu(counts.tolist()) == pytest.approx(run.scores["bleu"], rel=1e-12)
    assert average(run.test_rows) == run.scores["exact_match"]


@pytest.mark.slow
def test_accuracy_of_the_predicted_classes_is_reported(runs: MovedRuns) -> None:
    run = runs["text_folder"]
    assert average(run.test_rows) == run.scores["accuracy"]
    assert {"label", "p_bad", "p_good", "target"} < run.test_rows[0].keys()


@pytest.mark.slow
def test_documents_of_a_folder_are_named_by_their_path(runs: MovedRuns, tmp_path: Path) -> None:
    names = [f"{'deep/' * (k % 3)}{k:02d}.TXT" for k in range(len(LINES))]
    for name, line in zip(names, LINES, strict=True):
        file = tmp_path / "texts" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(line)
    path = runs["text_folder"].path
    rows = {row.pop("file"): row for row in predict(path, f"input={tmp_path / 'texts'}")}
    lines = dict(zip(names, without_number(predict_lines(path, LINES)), strict=True))
    assert list(rows) == sorted(names)
    assert are_close([rows[name] for name in names], [lines[name] for name in names])


@pytest.mark.slow
def test_a_file_of_two_columns_is_read_without_its_targets(runs: MovedRuns) -> None:
    for name in ("pairs", "text_folder"):
        with_targets = [f"{line}\twhatever" for line in LINES]
        assert predict_lines(runs[name].path, with_targets) == predict_lines(runs[name].path, LINES)


def test_lines_are_batches_sorted_by_length(runs: MovedRuns, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[torch.Tensor] = []

    def predict_nothing(_: Seq2Seq, batch: Batch) -> Prediction:
        lengths.append(batch.inputs["lengths"])
        return {"tokens": torch.zeros(len(batch), 1, dtype=torch.long)}

    path = runs["pairs"].path  # it is trained before, where it is the first one used
    monkeypatch.setattr(Seq2Seq, "predict", predict_nothing)
    predict_lines(path, LINES, "batch_size=4")
    assert torch.cat(lengths).tolist() == sorted(len(line.split()) for line in LINES)


REFUSED = {
    "pairs": {
        "fine\n\nnice\n": "lines.txt: line 2 is empty",
        f"{'warm ' * 300}\n": "line 1 has 1499 characters, more than",
    },
    "text_folder": {
        "fine\n \n": "lines.txt: line 2 is empty",
        "": "lines.txt is empty",
        "fine\tgood\nnice\n": "line 2 has 0 tabs",
    },
    "text_file": {"fine\n\n": "lines.txt: line 2 has no tokens"},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "text", "message"), [(name, *case) for name, cases in REFUSED.items() for case in cases.items()]
)
def test_invalid_lines_are_refused_by_number_or_skipped(
    name: str, text: str, message: str, runs: MovedRuns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, output = tmp_path / "lines.txt", tmp_path / "out.csv"
    file.write_text(text)
    arguments = ["predict", str(runs[name].path), f"input={file}", f"output={output}"]
    with pytest.raises(ConfigError, match=message):
        main.run_command(arguments)
    assert not output.exists()
    if text.startswith("fine"):
        main.run_command([*arguments, "on_error=skip"])
        assert capsys.readouterr().err.count("left out: ") == 1
        assert output.read_text().count("\n") == text.count("\n")
