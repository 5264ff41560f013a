"""Metadata of a data set: sizes, reference scores, class names and units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.core.tokenizer import Tokenizer


@dataclass(frozen=True, kw_only=True)
class ImageInfo:
    """Pixel values of image inputs (B, C, H, W) and of target maps (B, H, W).

    Attributes:
        bounds: Values of black and of white pixels in each channel; None where they are unknown.
        blank: Value of an empty pixel, one for all channels or one per channel.
        blank_class: Class of an empty pixel in a target map.
    """

    bounds: tuple[Sequence[float], Sequence[float]] | None = None
    blank: float | Sequence[float] = 0.0
    blank_class: int = IGNORE_INDEX


@dataclass(frozen=True, kw_only=True)
class TargetInfo:
    """Units of real-valued targets, which may be stored standardized.

    Attributes:
        scale: Divisor of the stored targets: errors times ``scale`` are in the original unit.
        mean: Number subtracted before the division; None if it is not a single one.
        unit: Unit of the stored targets for axis labels, where no single number converts them; empty for the original.
        channel_names: Names of the columns of targets (B, P, F).
        channel_moments: Means (F) and standard deviations (F) by which these columns were standardized.
    """

    scale: float = 1.0
    mean: float | None = None
    unit: str = ""
    channel_names: Sequence[str] = ()
    channel_moments: tuple[Sequence[float], Sequence[float]] | None = None

    @property
    def moments(self) -> tuple[float | Sequence[float], float | Sequence[float]]:
        """Mean and divisor of all stored targets, or of each column."""
        return self.channel_moments or (self.mean or 0.0, self.scale)


@dataclass(frozen=True, kw_only=True)
class TextInfo:
    """Tokenizers of token ids.

    Attributes:
        tokenizer: Tokenizer of the inputs.
        target_tokenizer: Tokenizer of the targets of sequence-to-sequence data.
        end_token: Id of the token that ends a target; None for targets of a fixed length.
    """

    tokenizer: Tokenizer | None = None
    target_tokenizer: Tokenizer | None = None
    end_token: int | None = None


@dataclass(frozen=True, kw_only=True)
class GraphInfo:
    """The single graph of a node or link data set.

    Attributes:
        node_classes: Class (N,) of each node, by which figures of the graph are colored and sorted.
    """

    node_classes: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class DensityInfo:
    """Known distribution of the inputs x (N, F).

    Attributes:
        log_likelihood: Function from x (B, F) to the exact log-likelihood (B,) in nats.
        modes: Centers (K, F) of equally likely Gaussians with covariance ``mode_sigma^2 I``.
        mode_sigma: Standard deviation of these Gaussians.
    """

    log_likelihood: Callable[[Tensor], Tensor] | None = None
    modes: Tensor | None = None
    mode_sigma: float = 0.0


@dataclass(frozen=True, kw_only=True)
class TableInfo:
    """Columns behind the features x (N, F) of a table.

    Attributes:
        feature_names: Name of each feature.
        to_table: Function from features x (N, F), and classes (N,) if given, to column names and rows of cells in the
            original units.
    """

    feature_names: Sequence[str] = ()
    to_table: Callable[[Tensor, Tensor | None], tuple[list[str], list[list[Any]]]] | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """Metadata that a data set reports to models, tasks and reports.

    Only ``sizes`` is required. Fields of a single modality are grouped in parts, which have defaults.

    Attributes:
        sizes: Values of ``???`` in the configuration of model and task, by name: ``in_features`` (width of one row or
            step), ``flat_features`` (numbers in one example), ``out_features`` (1 for two classes, else the number of
            classes or of values to predict), ``num_classes``, ``in_channels``, ``height``, ``width``, ``seq_len``,
            ``horizon``, ``vocab_size``, ``num_nodes``, ``edge_features`` (0 for none), ``cardinalities`` (codes of each
            column of categorical features; None for real ones), ... (``input_shapes`` and ``pixel_bounds`` are found
            automatically).
        baseline: Test scores of a trivial predictor, usually the best constant one.
        baseline_rule: Description of that predictor, where it was chosen among several.
        best_possible: Test scores that no model can beat on average, where they are known.
        class_names: Names for per-class metrics and figures.
        classifier: Trained function from rows x (B, ...) to features (B, D) and predicted classes (B,), by which
            generative tasks compare samples; None without one.
        file_summary: Lines that describe how user files were parsed.
        image: Pixel values of image inputs and target maps.
        target: Units of real-valued targets.
        text: Tokenizers of token ids.
        graph: The single graph of a node or link data set.
        density: Known distribution of the inputs.
        table: Columns behind the features of a table.
    """

    sizes: Mapping[str, Any]
    baseline: Mapping[str, float] = field(default_factory=dict)
    baseline_rule: str = ""
    best_possible: Mapping[str, float] = field(default_factory=dict)
    class_names: Sequence[str] = ()
    classifier: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None
    file_summary: Sequence[str] = ()
    image: ImageInfo = ImageInfo()
    target: TargetInfo = TargetInfo()
    text: TextInfo = TextInfo()
    graph: GraphInfo = GraphInfo()
    density: DensityInfo = DensityInfo()
    table: TableInfo = TableInfo()

    @property
    def num_classes(self) -> int | None:
        """Number of classes of the targets; None if the data set reports none."""
        return self.sizes.get("num_classes")
