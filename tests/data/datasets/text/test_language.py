"""Text in token windows: shifted targets, splits, tokenizers, baseline and errors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.real_data import FOLDER, needs
from trainer.data.datasets.text.language import TextFile, TinyShakespeare, unigram_scores
from trainer.data.splits.token_windows import TokenWindows
from trainer.utils.errors import DataError

LENGTH = 7
OPTIONS = {
    "encoding": "utf-8",
    "tokens": "characters",
    "vocab_limit": None,
    "min_count": 1,
    "lowercase": False,
    "seq_len": LENGTH,
    "val": 0.2,
    "test": 0.2,
}


def read(tmp_path: Path, content: str | bytes, **changes: object) -> TextFile:
    path = tmp_path / "poem.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return TextFile(path=str(path), **OPTIONS | changes)  # type: ignore[arg-type]


def load_all_windows(split: TokenWindows, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
    batch = split.batch(torch.arange(len(split)), epoch)
    assert batch.target is not None
    return batch.inputs["x"], batch.target


@pytest.mark.parametrize("count", [8, 14, 15, 16, 100, 105, 106])
def test_windows_are_contiguous_and_targets_are_shifted_by_one(count: int) -> None:
    tokens = torch.arange(count)
    x, y = load_all_windows(TokenWindows(tokens, LENGTH, "val"), 5)
    assert torch.equal(x.flatten(), tokens[: len(x) * LENGTH])
    assert torch.equal(y, x + 1)
    assert x.dtype == y.dtype == torch.long
    assert len(x) == (count - 1) // LENGTH  # as many windows as fit


@pytest.mark.parametrize("count", [8, 14, 15, 16, 100, 105, 106])
def test_training_window_offset_depends_on_epoch_only(count: int) -> None:
    split = TokenWindows(torch.arange(count), LENGTH, "train", moving=True)
    offsets = set()
    for epoch in range(60):
        x, y = load_all_windows(split, epoch)
        assert torch.equal(x.flatten(), x[0, 0] + torch.arange(len(x) * LENGTH))
        assert torch.equal(y, x + 1)
        assert torch.equal(load_all_windows(split, epoch)[0], x)
        offsets.add(int(x[0, 0]))
    assert offsets == set(range(min(LENGTH, count - len(split) * LENGTH)))


def test_get_targets_matches_batches() -> None:
    split = TokenWindows(torch.arange(100), LENGTH, "val")
    assert torch.equal(split.get_targets(), load_all_windows(split, 0)[1])
    assert split.count_bytes() == 100 * 4


def test_splits_are_contiguous_parts_of_the_text(tmp_path: Path) -> None:
    text = "".join(map(chr, range(97, 197)))
    data = read(tmp_path, text)
    tokenizer = data.info.text.tokenizer
    assert tokenizer is not None
    parts = [tokenizer.decode(split.tokens.tolist()) for split in (data.train, data.val, data.test)]  # type: ignore[attr-defined]
    assert parts[0] == text[:60]
    assert parts[1:] == ["⁇" * 20] * 2, "the vocabulary is that of training"
    assert data.info.sizes == {"vocab_size": 61, "seq_len": LENGTH}


@pytest.mark.parametrize("tokens", ["characters", "words", "bytepair"])
def test_text_round_trips_through_each_tokenizer(tmp_path: Path, tokens: str) -> None:
    text = "The cat, the dog. " * 40
    data = read(tmp_path, text, tokens=tokens, vocab_limit=300, lowercase=True)
    tokenizer = data.info.text.tokenizer
    assert tokenizer is not None
    assert "the cat, the dog. the cat" in tokenizer.decode(data.train.tokens.tolist())  # type: ignore[attr-defined]
    assert data.info.file_summary == ["targets: lowercased (data.lowercase)"]
    assert not read(tmp_path, text, tokens=tokens, vocab_limit=300).info.file_summary


def test_unigram_scores_are_entropy_of_token_counts() -> None:
    train_tokens = torch.tensor([0] * 499_999 + [1] * 249_999 + [2] * 249_999)
    scores = unigram_scores(train_tokens, torch.tensor([0, 0, 1, 2]), 3)
    assert scores["bits"] == pytest.approx(1.5, abs=1e-5)
    assert scores["nll"] == pytest.approx(1.5 * math.log(2), abs=1e-5)
    assert scores["perplexity"] == pytest.approx(2**1.5, abs=1e-4)
    assert scores["token_accuracy"] == 0.5
    assert math.isfinite(unigram_scores(train_tokens, torch.tensor([3]), 4)["nll"]), "a token without training count"
    tied_scores = unigram_scores(torch.tensor([0, 1, 1, 2, 2]), torch.tensor([0, 1, 1, 1]), 3)
    assert tied_scores["token_accuracy"] == (3 / 4 + 0) / 2, "the mean of the two most frequent tokens"


@pytest.mark.parametrize(
    ("content", "changes", "message"),
    [
        ("", {}, r"a window of 7 and the next token need 8 tokens; the train split has 0"),
        ("abc" * 10, {}, r"the val split has 6"),
        ("abc" * 100, {"val": 0.6, "test": 0.6}, "the train split has 0"),
        (b"one\ntwo\n" + b"gr\xfc\xdfe" + b" more" * 50, {}, "is not utf-8 text at line 3; older files"),
        (b"\x1f\x8b" + b"ab" * 50, {}, "is not text but a gzip archive; unpack it"),
    ],
)
def test_short_or_invalid_text_raises(
    tmp_path: Path, content: str | bytes, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, content, **changes)


def test_a_missing_file_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "poem.txt").touch()
    with pytest.raises(DataError, match=r"path: .*peom\.txt does not exist; did you mean poem\.txt\?"):
        TextFile(path=str(tmp_path / "peom.txt"), **OPTIONS)  # type: ignore[arg-type]


@needs("tinyshakespeare")
def test_tinyshakespeare_sizes_and_baseline() -> None:
    data = TinyShakespeare(128, str(FOLDER))
    assert data.info.sizes == {"vocab_size": 65, "seq_len": 128}
    assert data.info.baseline["nll"] == pytest.approx(3.36, abs=0.01)
    sizes = [len(split.tokens) for split in (data.train, data.val, data.test)]  # type: ignore[attr-defined]
    assert sum(sizes) == 1_115_394
    assert sizes[1] == pytest.approx(0.05 * sum(sizes), abs=1)
    tokenizer = data.info.text.tokenizer
    assert tokenizer is not None
    assert isinstance(data.train, TokenWindows)
    first_window = load_all_windows(data.train, 0)[0][0]
    assert tokenizer.decode(first_window.tolist()) in tokenizer.decode(data.train.tokens[:300].tolist())


@pytest.mark.slow
def test_char_lstm_learns_repeated_text(tmp_path: Path) -> None:
    path = tmp_path / "abc.txt"
    path.write_text("abcdefgh, " * 600)
    overrides = ["model=char_lstm", "model.hidden_size=16", "model.embed_size=8", "data=text_file", f"data.path={path}"]
    run = lab(*overrides, "data.seq_len=16", "epochs=12", "batch_size=16", "optimizer.lr=2e-2")
    scores = run.test()
    assert scores["token_accuracy"] > 0.9
    assert scores["nll"] < 0.5 < 1.5 < run.data.info.baseline["nll"]
    assert "".join(run.task.sample("ab", length=18, temperature=0)) == "abcdefgh, abcdefgh, "  # type: ignore[operator]
