"""Running text in windows: every token once an epoch, the target one later, parts that do not overlap."""

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


def read(tmp_path: Path, words: str | bytes, **changes: object) -> TextFile:
    path = tmp_path / "poem.txt"
    path.write_bytes(words.encode() if isinstance(words, str) else words)
    return TextFile(path=str(path), **OPTIONS | changes)  # type: ignore[arg-type]


def everything(split: TokenWindows, epoch: int) -> tuple[torch.Tensor, torch.Tensor]:
    batch = split.batch(torch.arange(len(split)), epoch)
    assert batch.target is not None
    return batch.inputs["x"], batch.target


@pytest.mark.parametrize("count", [8, 14, 15, 16, 100, 105, 106])
def test_windows_follow_one_another_and_the_target_is_one_token_later(count: int) -> None:
    tokens = torch.arange(count)
    x, y = everything(TokenWindows(tokens, LENGTH, "val"), 5)
    assert torch.equal(x.flatten(), tokens[: len(x) * LENGTH])
    assert torch.equal(y, x + 1)
    assert x.dtype == y.dtype == torch.long
    assert len(x) == (count - 1) // LENGTH  # no window less than there is room for


@pytest.mark.parametrize("count", [8, 14, 15, 16, 100, 105, 106])
def test_training_windows_move_with_the_epoch_alone(count: int) -> None:
    split = TokenWindows(torch.arange(count), LENGTH, "train", moving=True)
    firsts = set()
    for epoch in range(60):
        x, y = everything(split, epoch)
        assert torch.equal(x.flatten(), x[0, 0] + torch.arange(len(x) * LENGTH))
        assert torch.equal(y, x + 1)
        assert torch.equal(everything(split, epoch)[0], x)
        firsts.add(int(x[0, 0]))
    assert firsts == set(range(min(LENGTH, count - len(split) * LENGTH)))


def test_the_targets_at_once_are_those_of_the_batches() -> None:
    split = TokenWindows(torch.arange(100), LENGTH, "val")
    assert torch.equal(split.get_targets(), everything(split, 0)[1])
    assert split.count_bytes() == 100 * 4


def test_the_parts_of_a_text_follow_one_another(tmp_path: Path) -> None:
    poem = "".join(map(chr, range(97, 197)))
    data = read(tmp_path, poem)
    codec = data.info.text.tokenizer
    assert codec is not None
    parts = [codec.decode(split.tokens.tolist()) for split in (data.train, data.val, data.test)]  # type: ignore[attr-defined]
    assert parts[0] == poem[:60]
    assert parts[1:] == ["⁇" * 20] * 2, "the vocabulary is that of training"
    assert data.info.sizes == {"vocab_size": 61, "seq_len": LENGTH}


@pytest.mark.parametrize("tokens", ["characters", "words", "bytepair"])
def test_a_text_is_read_by_any_tokens(tmp_path: Path, tokens: str) -> None:
    poem = "The cat, the dog. " * 40
    data = read(tmp_path, poem, tokens=tokens, vocab_limit=300, lowercase=True)
    codec = data.info.text.tokenizer
    assert codec is not None
    assert "the cat, the dog. the cat" in codec.decode(data.train.tokens.tolist())  # type: ignore[attr-defined]
    assert data.info.file_summary == ["targets: lowercased (data.lowercase)"]
    assert not read(tmp_path, poem, tokens=tokens, vocab_limit=300).info.file_summary


def test_the_baseline_is_the_entropy_of_what_it_counts() -> None:
    seen = torch.tensor([0] * 499_999 + [1] * 249_999 + [2] * 249_999)
    scores = unigram_scores(seen, torch.tensor([0, 0, 1, 2]), 3)
    assert scores["bits"] == pytest.approx(1.5, abs=1e-5)
    assert scores["nll"] == pytest.approx(1.5 * math.log(2), abs=1e-5)
    assert scores["perplexity"] == pytest.approx(2**1.5, abs=1e-4)
    assert scores["token_accuracy"] == 0.5
    assert math.isfinite(unigram_scores(seen, torch.tensor([3]), 4)["nll"]), "a token never seen"
    tied = unigram_scores(torch.tensor([0, 1, 1, 2, 2]), torch.tensor([0, 1, 1, 1]), 3)
    assert tied["token_accuracy"] == (3 / 4 + 0) / 2, "the mean of the two tokens that are as frequent"


@pytest.mark.parametrize(
    ("words", "changes", "said"),
    [
        ("", {}, r"a window of 7 and the next token need 8 tokens; the train split has 0"),
        ("abc" * 10, {}, r"the val split has 6"),
        ("abc" * 100, {"val": 0.6, "test": 0.6}, "the train split has 0"),
        (b"one\ntwo\n" + b"gr\xfc\xdfe" + b" more" * 50, {}, "is not utf-8 text at line 3; older files"),
        (b"\x1f\x8b" + b"ab" * 50, {}, "is not text but a gzip archive; unpack it"),
    ],
)
def test_files_that_are_not_text_are_reported(
    tmp_path: Path, words: str | bytes, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        read(tmp_path, words, **changes)


def test_a_missing_file_is_reported_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "poem.txt").touch()
    with pytest.raises(DataError, match=r"path: .*peom\.txt does not exist; did you mean poem\.txt\?"):
        TextFile(path=str(tmp_path / "peom.txt"), **OPTIONS)  # type: ignore[arg-type]


@needs("tinyshakespeare")
def test_tinyshakespeare() -> None:
    data = TinyShakespeare(128, str(FOLDER))
    assert data.info.sizes == {"vocab_size": 65, "seq_len": 128}
    assert data.info.baseline["nll"] == pytest.approx(3.36, abs=0.01)
    sizes = [len(split.tokens) for split in (data.train, data.val, data.test)]  # type: ignore[attr-defined]
    assert sum(sizes) == 1_115_394
    assert sizes[1] == pytest.approx(0.05 * sum(sizes), abs=1)
    codec = data.info.text.tokenizer
    assert codec is not None
    assert codec.decode(everything(data.train, 0)[0][0].tolist()) in codec.decode(data.train.tokens[:300].tolist())  # type: ignore[attr-defined,arg-type]


def test_a_language_model_learns_what_follows_what(tmp_path: Path) -> None:
    path = tmp_path / "abc.txt"
    path.write_text("abcdefgh, " * 600)
    words = ["model=char_lstm", "model.hidden_size=16", "model.embed_size=8", "data=text_file", f"data.path={path}"]
    run = lab(*words, "data.seq_len=16", "epochs=12", "batch_size=16", "optimizer.lr=2e-2")
    scores = run.test()
    assert scores["token_accuracy"] > 0.9
    assert scores["nll"] < 0.5 < 1.5 < run.data.info.baseline["nll"]
    assert "".join(run.task.sample("ab", length=18, temperature=0)) == "abcdefgh, abcdefgh, "  # type: ignore[operator]
