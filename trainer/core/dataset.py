"""What a data set gives: three splits, its sizes, its trivial baseline and, where known, the best possible score."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from trainer.core import shapes as shape_lines
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.preprocessing import Preprocessing
from trainer.utils.errors import ConfigError

CHUNK_BYTES = 1 << 24
"""How much is gathered at once: one indexing call serves many small batches, and a large one is a chunk by itself."""


class Split(ABC):
    """Rows that can be asked for by number. The rows of a batch depend on (index, epoch) alone."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, index: Tensor, epoch: int) -> Batch:
        """The rows ``index`` (B,) as they lie in memory or on disk in one epoch; ``to_model_inputs`` does the rest."""

    def iter_batches(self, order: Sequence[Tensor], epoch: int) -> Iterator[Batch]:
        """Batch after batch; a split that can do better than one gather a batch does."""
        return (self.batch(index, epoch) for index in order)

    def to_model_inputs(self, batch: Batch) -> Batch:
        """A batch, now on the device, as a model sees it: numbers for bytes, say, which travel four times as fast."""
        return batch

    def get_targets(self) -> Tensor | None:
        """All targets at once where they are in memory, so that a task can check them before the first step.

        Of maps that are too many for that, each different target once.
        """
        return None

    def get_lengths(self) -> Tensor | None:
        """How long each row is, (N,) on the CPU, where rows differ: the loader puts like to like."""
        return None

    def count_examples(self) -> tuple[int, str]:
        """How many there are of what is counted, and what it is called."""
        return len(self), "rows"

    def get_row_names(self, first: int) -> tuple[str, Sequence[object]]:
        """What rows are called in a table of them, and each one's name: files have some, others are numbered."""
        return "row", range(first, first + len(self))

    def count_bytes(self) -> int | None:
        """Size in memory; None for a split that must be read row by row, in workers."""
        return None

    def to(self, device: torch.device) -> Split:
        """The split with its tensors on a device; only asked of splits that say their size."""
        return self


class TensorSplit(Split):
    """Rows held as tensors, batched by indexing.

    Every tensor has the rows first: inputs ``{"x": (N, ...), ...}``, target (N, ...) or None.
    """

    def __init__(self, inputs: Mapping[str, Tensor], target: Tensor | None = None):
        self.inputs = dict(inputs)
        self.target = target
        self._length = len(next(iter(self.inputs.values())))
        assert all(len(value) == self._length for value in self._tensors()), "tensors of one split differ in rows"

    def _tensors(self) -> list[Tensor]:
        return [*self.inputs.values()] + ([] if self.target is None else [self.target])

    def __len__(self) -> int:
        return self._length

    def get_targets(self) -> Tensor | None:
        return self.target

    def require_target(self) -> Tensor:
        """Return the targets of all rows.

        Raises:
            ValueError: The split has none.
        """
        if self.target is None:
            raise ValueError("these rows have no targets")
        return self.target

    def count_bytes(self) -> int:
        return sum(value.nbytes for value in self._tensors())

    def to(self, device: torch.device) -> TensorSplit:
        target = None if self.target is None else self.target.to(device)
        return TensorSplit({name: value.to(device) for name, value in self.inputs.items()}, target)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        index = index.to(self._tensors()[0].device)
        inputs = {name: value[index] for name, value in self.inputs.items()}
        target = None if self.target is None else self.target[index]
        return Batch(inputs, target, index)

    def iter_batches(self, order: Sequence[Tensor], epoch: int) -> Iterator[Batch]:
        """Gathers many batches in one call and cuts them apart: 3 us a batch instead of 7 for small rows."""
        if not order:
            return
        row_bytes = max(1, self.count_bytes() // max(1, self._length))
        per_chunk = max(1, CHUNK_BYTES // (row_bytes * len(order[0])))
        for start in range(0, len(order), per_chunk):
            group = order[start : start + per_chunk]
            sizes = [len(index) for index in group]
            rows = self.batch(torch.cat(list(group)), epoch)
            columns = {name: value.split(sizes) for name, value in rows.inputs.items()}
            targets = [None] * len(group) if rows.target is None else rows.target.split(sizes)
            for place, (target, index) in enumerate(zip(targets, rows.index.split(sizes), strict=True)):
                yield Batch({name: parts[place] for name, parts in columns.items()}, target, index)


class FullBatchSplit(Split):
    """One example that is always seen whole, such as a graph; targets are of its rows, or of those ``asked``."""

    def __init__(self, inputs: Mapping[str, Tensor], target: Tensor | None, asked: Tensor | None = None):
        self.full_batch = Batch(dict(inputs), target, torch.zeros(1, dtype=torch.long), asked)

    def __len__(self) -> int:
        return 1

    def batch(self, index: Tensor, epoch: int) -> Batch:
        return self.full_batch

    def count_examples(self) -> tuple[int, str]:
        target = self.full_batch.target
        if target is None:
            return len(self), "rows"
        counted = target if target.is_floating_point() else target[target != IGNORE_INDEX]
        return len(counted), "nodes"

    def get_targets(self) -> Tensor | None:
        return self.full_batch.target

    def count_bytes(self) -> int:
        return 0

    def to(self, device: torch.device) -> FullBatchSplit:
        moved = self.full_batch.to(device)
        return FullBatchSplit(moved.inputs, moved.target, moved.output_index)


UNKNOWN_TOKEN = "\N{DOUBLE QUESTION MARK}"
"""How a token outside a vocabulary is written."""


class Tokenizer(Protocol):
    """Text as numbers and back."""

    vocab_size: int
    """How many different tokens there are: they are numbered from 0."""
    unknown_id: int | None
    """The token of whatever has none of its own, which is no text; None where everything has tokens."""

    def encode(self, text: str) -> list[int]:
        """Raises ConfigError for text that has no tokens."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Tokens from ``size`` on (ends, starts) are left out."""

    def decode_words(self, tokens: Sequence[int]) -> list[str]:
        """The words of ``decode``, for scores that compare words."""

    def state_dict(self) -> dict[str, Any]:
        """Plain values that ``bag_of_words.from_state`` makes the same codec of."""


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What a data set says of itself once it is built.

    sizes: what fills ``???`` in a model's or task's configuration, by name: ``in_features`` (width of one row or
        step), ``flat_features`` (numbers in one example), ``out_features`` (1 for two classes, else the number of
        classes or of values to predict), ``num_classes``, ``in_channels``, ``height``, ``width``, ``seq_len``,
        ``horizon``, ``vocab_size``, ``num_nodes``, ``edge_features`` (0 for none), ``cardinalities`` (how many codes
        each column of whole-number features has; None for real ones), ... (``input_shapes`` is found by itself)
    baseline: test scores of the best guess that ignores the input, or of the usual trivial rule.
    best_possible: test scores nothing can beat on average, where they are known.
    class_names: names for per-class scores and pictures.
    bounds: what black and white pixels are in each channel, where the inputs are pictures that have them.
    classifier: features (B, D) and classes (B,) of rows x (B, ...), where someone was trained to tell them.
    blank, blank_class: an empty pixel, one number or one a channel, and its class in a target that is a map.
    target_scale: what a real target was divided by, so that scores can be told in the data's own units.
    target_mean: what was taken from it before that; None if it is not one number.
    target_unit: what targets are told in where that is not the data's own unit and cannot be undone by one number.
    channels: the names of the columns of targets (B, P, F), where they have some.
    channel_scale: the mean and the deviation of each column, by which its values can be told in its own unit.
    log_likelihood: exact nats (B,) of examples x (B, ...), where the distribution they were drawn from is known.
    codec, target_codec: what the tokens of the inputs and of the targets are in text.
    end: the token that ends a target, where targets end by themselves.
    node_classes: the class (N,) of each node of the one graph, by which pictures of it are coloured and sorted.
    modes, mode_sigma: centres (K, F) and spread of the equally likely Gaussians that points were drawn from.
    table: the names of the columns and the rows of cells that features x (N, F) stand for, in their own units; of the
        classes (N,), if they are given.
    features: the names of the F numbers of features x (N, F), where they have some.
    reading: how files of the user's were read, a line for each column.
    baseline_rule: what the baseline says, where it was chosen among rules.
    """

    sizes: Mapping[str, Any]
    baseline: Mapping[str, float] = field(default_factory=dict)
    best_possible: Mapping[str, float] = field(default_factory=dict)
    class_names: Sequence[str] = ()
    bounds: tuple[Sequence[float], Sequence[float]] | None = None
    classifier: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    blank: float | Sequence[float] = 0.0
    blank_class: int = IGNORE_INDEX
    target_scale: float = 1.0
    target_mean: float | None = None
    target_unit: str = ""
    channel_names: Sequence[str] = ()
    channel_scale: tuple[Sequence[float], Sequence[float]] | None = None
    log_likelihood: Callable[[Tensor], Tensor] | None = None
    tokenizer: Tokenizer | None = None
    target_tokenizer: Tokenizer | None = None
    end: int | None = None
    node_classes: Tensor | None = None
    modes: Tensor | None = None
    mode_sigma: float = 0.0
    to_table: Callable[[Tensor, Tensor | None], tuple[list[str], list[list[Any]]]] | None = None
    feature_names: Sequence[str] = ()
    column_summaries: Sequence[str] = ()
    baseline_rule: str = ""


class Dataset(ABC):
    """A data set.

    ``shapes`` of a subclass names the inputs a batch carries and the shape of its target; it is read from the source,
    before anything is imported, to tell whether a model fits.
    """

    shapes: ClassVar[str] = ""
    """Such as ``x (B, T, F) -> (B)``."""

    train: Split
    val: Split
    test: Split
    info: DatasetInfo
    fitted: Preprocessing | None = None
    """What was learned from the training rows; None where the options alone say everything."""
    options: Mapping[str, Any] = MappingProxyType({})
    """Those by which ``read`` reads other files, as the configuration has them."""
    can_encode_changed_files: ClassVar[bool] = True
    """Whether other files can be encoded as stored: not where a model learns something of each user or entity."""
    file_suffixes: ClassVar[Sequence[str]] = ()
    """How the names of those files end, in small letters, that count in a folder of the user's; none given, all do."""

    def input_shapes(self) -> dict[str, list[int]]:
        """The shape of a row of each input, by name."""
        row = self.train.to_model_inputs(self.train.batch(torch.zeros(1, dtype=torch.long), 0))
        return {name: list(value.shape[1:]) for name, value in row.inputs.items()}

    @classmethod
    def get_user_paths(cls, options: Mapping[str, Any], paths: Mapping[str, Path]) -> dict[str, Path]:
        """The files and folders of the user's that these options read, by key; ``paths`` are those in a
        ``DataPath``."""
        return dict(paths)

    def read(self, path: str) -> Split:
        """The rows of another file of the user's, as those of training: without targets, unless the file has them.

        Of what the data set knows it uses ``facts`` and ``fitted`` alone: the training files may be gone.

        Raises ConfigError for a file that is not there or not of this kind.
        """
        raise ConfigError("input: the data of this run cannot read files; without input its own test rows are scored")

    def complete_info(self, facts: DatasetInfo) -> DatasetInfo:
        """Plain facts with what is no plain value, made of ``fitted``: the training files may be gone."""
        return facts

    def image_inputs(self) -> tuple[str, ...]:
        """The inputs that are pictures (B, C, H, W), by ``shapes``; ``pixel_bounds`` says how to draw them."""
        parsed = shape_lines.parse_shapes(self.shapes)
        return shape_lines.find_image_inputs(parsed) if parsed else ()

    def pixel_bounds(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """What black and white pixels are in each channel of ``pictures``; None where they have none.

        Of what the data set knows it uses ``facts`` and ``fitted`` alone: the training files may be gone.
        """
        return self.info.bounds
