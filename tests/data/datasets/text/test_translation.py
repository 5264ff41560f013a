"""Sentence pairs: alignment, vocabularies, end tokens, baseline and errors."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import lab
from tests.helpers.real_data import FOLDER, needs
from trainer.core.batch import IGNORE_INDEX, Batch, ScoreAccumulator
from trainer.core.dataset import Dataset
from trainer.core.decoding import DecoderState
from trainer.core.split import TensorSplit
from trainer.data.datasets.text.translation import Multi30k, SentencePairs
from trainer.data.reference import baselines
from trainer.tasks.seq2seq import Seq2Seq
from trainer.utils.errors import ConfigError, DataError

OPTIONS: dict[str, Any] = {
    "encoding": "utf-8",
    "tokens": "words",
    "target_tokens": None,
    "vocab_limit": None,
    "min_count": 1,
    "lowercase": True,
    "max_length": 100,
    "drop_bad": False,
    "val": 0.2,
    "test": 0.2,
    "seed": 0,
}
ANIMALS = ["dog", "cat", "cow", "hen", "pig"]


def sentences(count: int = 60) -> tuple[list[str], list[str]]:
    """Return sentences of animals, and translations that append an ``o`` to each word."""
    rows = [[ANIMALS[(n * k) % 5] for k in range(1, 2 + n % 7)] for n in range(count)]
    return [" ".join(row) for row in rows], [" ".join(f"{word}o" for word in row) for row in rows]


def write(folder: Path, source: list[str], target: list[str]) -> dict[str, Any]:
    for name, lines in (("source.txt", source), ("target.txt", target)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"source": str(folder / "source.txt"), "target": str(folder / "target.txt")}


def read(folder: Path, source: list[str], target: list[str], **changes: object) -> SentencePairs:
    return SentencePairs(**write(folder, source, target), **OPTIONS | changes)


def get_error(folder: Path, source: list[str], target: list[str], **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, source, target, **changes)
    return str(caught.value)


def decode_pairs(data: Dataset) -> list[list[tuple[str, str]]]:
    """Return the decoded pairs of each split; each target must have one end token, its last."""
    splits, info = [], data.info.text
    tokenizer, target_tokenizer, end = info.tokenizer, info.target_tokenizer, info.end_token
    assert tokenizer is not None
    assert target_tokenizer is not None
    for split in (data.train, data.val, data.test):
        batch = split.batch(torch.arange(len(split)), 0)
        assert batch.target is not None
        rows = zip(batch.inputs["x"], batch.inputs["lengths"], batch.target, strict=True)
        split_pairs = []
        for x, n, y in rows:
            target = [token for token in y.tolist() if token != IGNORE_INDEX]
            assert target.index(end) == len(target) - 1
            split_pairs.append((tokenizer.decode(x[:n].tolist()), target_tokenizer.decode(target)))
        splits.append(split_pairs)
    return splits


@pytest.mark.parametrize("tokens", ["words", "characters", "bytepair"])
def test_lines_stay_aligned_and_occur_once(tmp_path: Path, tokens: str) -> None:
    source, target = sentences()
    data = read(tmp_path, source, target, tokens=tokens, vocab_limit=300)
    splits = decode_pairs(data)
    assert [len(split_pairs) for split_pairs in splits] == [36, 12, 12]
    assert sorted(pair for split_pairs in splits for pair in split_pairs) == sorted(zip(source, target, strict=True))
    other = decode_pairs(read(tmp_path, source, target, tokens=tokens, vocab_limit=300, seed=1))
    assert other[0] != splits[0]
    assert decode_pairs(read(tmp_path, source, target, tokens=tokens, vocab_limit=300)) == splits


def test_sizes_and_end_token_follow_from_vocabularies(tmp_path: Path) -> None:
    data = read(tmp_path, *sentences())
    assert data.info.sizes == {"source_vocab_size": 6, "vocab_size": 7, "seq_len": 7, "horizon": 8}
    assert data.info.text.end_token == 6


def test_source_and_target_have_separate_tokens_and_lowercasing(tmp_path: Path) -> None:
    source, target = (["The " + line for line in side] for side in sentences())
    data = read(tmp_path, source, target, target_tokens="characters", lowercase="source")
    tokenizer, target_tokenizer = data.info.text.tokenizer, data.info.text.target_tokenizer
    assert tokenizer is not None
    assert target_tokenizer is not None
    assert tokenizer.encode("THE Dog") == tokenizer.encode("the dog")
    assert target_tokenizer.decode(target_tokenizer.encode("The dog")) == "The dog"
    assert [target.split()[0] for _, target in decode_pairs(data)[0]] == ["The"] * len(data.train)
    assert tokenizer.vocab_size == 1 + 1 + 5
    assert target_tokenizer.vocab_size == 1 + len(set("".join(target)))
    assert not data.info.file_summary
    info = read(tmp_path, source, target, lowercase=True).info
    assert info.text.target_tokenizer is not None
    assert info.text.target_tokenizer.decode(info.text.target_tokenizer.encode("The dogo")) == "the dogo"
    assert info.file_summary == ["targets: lowercased (data.lowercase)"]


def test_unknown_tokens_are_reported_with_their_share(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, target = sentences()
    read(tmp_path, source, target, min_count=2)
    assert not caplog.records
    rare_lines = [f"{line} " + " ".join(f"x{number}y{k}" for k in range(12)) for number, line in enumerate(source)]
    read(tmp_path, rare_lines, target, min_count=2, max_length=300)
    (record,) = caplog.records
    match = re.fullmatch(
        r"data.source: many tokens are unknown: (\d+)% of those of the training rows, (\d+)% of those of the test rows;"
        r" to reduce them use data.min_count=1, .*",
        record.message,
    )
    assert match
    assert all(70 < int(share) < 95 for share in match.groups())


def test_prompt_is_lowercased(tmp_path: Path) -> None:
    data = read(tmp_path, *sentences())
    assert data.info.text.tokenizer is not None
    assert data.info.text.tokenizer.encode("Dog CAT") == data.info.text.tokenizer.encode("dog cat")


class Echo(nn.Module):
    """Model that outputs the given targets; ``omits_end`` replaces the end token."""

    shapes = "x (B, S), lengths (B) -> (B, T, V)"

    def __init__(self, targets: Tensor, vocabulary: int, end: int | None, omits_end: bool = False):
        super().__init__()
        self.targets, self.vocabulary = targets, vocabulary
        self.end, self.omits_end = end, omits_end
        self.dummy = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        raise NotImplementedError

    def encode(self, x: Tensor, lengths: Tensor) -> DecoderState:
        return (torch.arange(len(x)),)

    def decode(
        self, tokens: Tensor, memory: DecoderState, state: DecoderState | None = None
    ) -> tuple[Tensor, DecoderState]:
        position = torch.zeros(len(tokens), dtype=torch.long) if state is None else state[0]
        steps = (position[:, None] + torch.arange(tokens.shape[1])).clamp(max=self.targets.shape[1] - 1)
        target = self.targets[memory[0][:, None], steps].clamp(min=0)
        if self.omits_end and self.end is not None:
            target = target.masked_fill(target.eq(self.end), 1)
        return nn.functional.one_hot(target, self.vocabulary).float(), (position + tokens.shape[1],)


def score_echo(data: Dataset, omits_end: bool = False) -> dict[str, float]:
    batch = data.test.batch(torch.arange(len(data.test)), 0)
    assert batch.target is not None
    size = data.info.sizes["vocab_size"]
    model = Echo(batch.target, size, data.info.text.end_token, omits_end)
    task = Seq2Seq(model, size, data.info.sizes["horizon"], 1.0, 0.0, "token", 3, 1.0)
    task.setup(data)
    task.validate_targets(data.test.get_targets(), "test")
    totals = ScoreAccumulator()
    totals.update(task.score(batch))
    return task.metrics(totals.compute_totals())


def test_exact_output_scores_one_and_missing_end_tokens_do_not(tmp_path: Path) -> None:
    data = read(tmp_path, *sentences())
    exact, endless = score_echo(data), score_echo(data, omits_end=True)
    for prefix in ("", "beam_"):
        assert exact[f"{prefix}token_accuracy"] == exact[f"{prefix}exact_match"] == 1.0
        assert exact[f"{prefix}bleu"] == pytest.approx(100.0)
    assert exact["forcing_gap"] == 0.0
    assert endless["exact_match"] == 0.0
    assert endless["token_accuracy"] < 0.9
    assert endless["bleu"] < 60


def test_baseline_is_score_of_most_frequent_tokens(tmp_path: Path) -> None:
    data = read(tmp_path, *sentences())
    train = data.train.get_targets()
    assert train is not None
    end = data.info.text.end_token
    guess = torch.stack([c[c != IGNORE_INDEX].mode().values for c in train.t()])
    output = guess[: guess.tolist().index(end) + 1]
    batch = data.test.batch(torch.arange(len(data.test)), 0)
    size = data.info.sizes["vocab_size"]
    model = Echo(output.expand(len(batch), -1), size, end)
    task = Seq2Seq(model, size, data.info.sizes["horizon"], 1.0, 0.0, "token", 1, 1.0)
    task.setup(data)
    totals = ScoreAccumulator()
    totals.update(task.score(batch))
    scores = task.metrics(totals.compute_totals())
    for name in ("token_accuracy", "exact_match", "bleu"):
        assert data.info.baseline[name] == pytest.approx(scores[name]), name


def test_most_frequent_tokens_of_rows_of_equal_length() -> None:
    train = TensorSplit({"x": torch.zeros(3)}, torch.tensor([[1, 2], [1, 3], [4, 3]]))
    test = TensorSplit({"x": torch.zeros(2)}, torch.tensor([[1, 3], [4, 3]]))
    assert baselines.most_frequent_tokens(train, test) == {
        "token_accuracy": 0.75,
        "exact_match": 0.5,
        "forcing_gap": 0.0,
    }


def test_files_of_different_length_are_reported_with_both_counts(tmp_path: Path) -> None:
    source, target = sentences(20)
    message = get_error(tmp_path, source, target[:-1])
    assert "source.txt has 20 lines" in message
    assert "target.txt has 19" in message


def test_unicode_line_separators_do_not_split_lines(tmp_path: Path) -> None:
    source, target = sentences(20)
    source[3] += " \u2028 pig\x0bpig"
    read(tmp_path, source, target)
    for name in ("source.txt", "target.txt"):  # and files from Windows are read alike
        path = tmp_path / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    paths: dict[str, Any] = {name: str(tmp_path / f"{name}.txt") for name in ("source", "target")}
    assert "\r" not in decode_pairs(SentencePairs(**paths, **OPTIONS | {"tokens": "characters"}))[0][0][0]


@pytest.mark.parametrize("side", ["source", "target"])
def test_bad_lines_are_reported_or_skipped(tmp_path: Path, side: str) -> None:
    lines = dict(zip(("source", "target"), sentences(30), strict=True))
    lines[side][4] = "  "
    lines[side][9] = "pig " * 30
    message = get_error(tmp_path, *lines.values())
    assert f"{side}: {tmp_path}/{side}.txt: line 5 is empty; invalid pairs: 2; data.drop_bad=true" in message
    lines[side][4] = "pig"
    assert "line 10 has 119 characters, more than data.max_length 100; invalid pairs: 1;" in get_error(
        tmp_path, *lines.values()
    )
    assert sum(map(len, decode_pairs(read(tmp_path, *lines.values(), drop_bad=True)))) == 29


def test_too_few_pairs_and_missing_files_are_reported(tmp_path: Path) -> None:
    assert "the val split is empty (1 pairs" in get_error(tmp_path, ["one"], ["eins"])
    assert "source.txt: line 1 is empty" in get_error(tmp_path, [""], [""])
    assert "the train split is empty (0 pairs" in get_error(tmp_path, [""], [""], drop_bad=True)
    with pytest.raises(DataError, match=r"target: .*targets\.txt does not exist; did you mean target\.txt\?"):
        SentencePairs(str(tmp_path / "source.txt"), str(tmp_path / "targets.txt"), **OPTIONS)


@pytest.mark.slow
@needs("multi30k")
def test_multi30k_sizes_and_first_pair() -> None:
    data = Multi30k("de", "en", "words", 500, 2, True, str(FOLDER))
    assert [len(split) for split in (data.train, data.val, data.test)] == [29_000, 1014, 1000]
    first = decode_pair(data, 0)
    assert first[0].startswith("zwei junge weiße männer sind")
    assert first[1].startswith("two young, white ⁇ are outside near many")
    assert data.info.sizes["vocab_size"] == 501
    with pytest.raises(DataError, match=r"target: en is also data\.source"):
        Multi30k("en", "en", "words", 500, 2, True, str(FOLDER))


def decode_pair(data: Dataset, row: int) -> tuple[str, str]:
    batch: Batch = data.train.batch(torch.tensor([row]), 0)
    assert batch.target is not None
    assert data.info.text.tokenizer is not None
    assert data.info.text.target_tokenizer is not None
    return data.info.text.tokenizer.decode(batch.inputs["x"][0].tolist()), data.info.text.target_tokenizer.decode(
        batch.target[0].tolist()
    )


@pytest.mark.slow
def test_seq2seq_learns_translation(tmp_path: Path) -> None:
    draw = random.Random(0)
    rows = [draw.choices(ANIMALS, k=draw.randint(1, 5)) for _ in range(400)]
    paths = write(tmp_path, [" ".join(row) for row in rows], [" ".join(f"{word}o" for word in row) for row in rows])
    overrides = ["model=seq2seq", "model.hidden_size=32", "data=pairs", *(f"data.{k}={v}" for k, v in paths.items())]
    run = lab(*overrides, "epochs=12", "batch_size=16", "optimizer.lr=1e-2")
    scores = run.test()
    assert scores["token_accuracy"] > 0.9
    assert scores["bleu"] > 80 > run.data.info.baseline["bleu"]
    assert "".join(run.task.sample("Dog cat")).split() == ["dogo", "cato"]  # type: ignore[operator]
    with pytest.raises(ConfigError, match="prompt: ' ' contains no tokens"):
        "".join(run.task.sample(" "))  # type: ignore[operator]
