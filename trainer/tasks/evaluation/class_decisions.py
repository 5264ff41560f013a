"""Decisions of classification that are fitted on validation rows: temperature, threshold and conformal sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX, Score
from trainer.metrics.calibration import bin_confidences, expected_calibration_error
from trainer.metrics.double_precision import to_double
from trainer.metrics.registry import F1_PER_CLASS
from trainer.tasks.evaluation import conformal, thresholds
from trainer.tasks.evaluation.temperature import fit_temperature
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count

TEMPERATURE, THRESHOLD, SCORE_QUANTILE = "temperature", "threshold", "score_quantile"
"""Names of the fitted values."""
MAX_POSITIONS = 1024
"""Maximum number of positions of a row, such as pixels, on which decisions are fitted."""


@dataclass(frozen=True)
class ClassDecisions:
    """Options of the decisions, and their use by fitted values. Logits are (B, C, ...).

    The temperature is fitted first; the threshold and the sets refer to the scaled probabilities.

    Args:
        num_classes: Number of classes C.
        threshold: Criterion by which the threshold on the probability of the second class is chosen, or its value.
        costs: Costs of a false positive and of a false negative, for the criterion ``cost``.
        calibration: ``temperature``, or None for unchanged probabilities.
        coverage: Probability that a conformal set contains the true class; None for no sets.

    Raises:
        ValueError: The options contradict each other.
    """

    num_classes: int
    threshold: str | float | None
    costs: Sequence[float] | None
    calibration: str | None
    coverage: float | None

    def __post_init__(self) -> None:
        if self.threshold is not None and self.num_classes != 2:
            raise ValueError(
                f"threshold: {self.threshold} given; it must be null for {self.num_classes} classes, because it decides"
                " between two"
            )
        if self.threshold == "cost" and self.costs is None:
            raise ValueError("costs: null given; threshold=cost needs [cost of a false positive, of a false negative]")
        if self.costs is None:
            return
        if self.threshold != "cost":
            raise ValueError(f"costs: {list(self.costs)} given; it must be null unless threshold is cost")
        if len(self.costs) != 2 or not any(self.costs):
            raise ValueError(
                f"costs: {list(self.costs)} given; it must be [cost of a false positive, of a false negative], not both"
                " 0"
            )

    def examples(self) -> dict[str, Tensor]:
        """Return values that change nothing, by the names of those that are fitted."""
        is_fitted = {
            TEMPERATURE: self.calibration is not None,
            THRESHOLD: self.threshold is not None,
            SCORE_QUANTILE: self.coverage is not None,
        }
        neutral = {TEMPERATURE: 1.0, THRESHOLD: 0.5, SCORE_QUANTILE: 1.0}
        return {name: torch.tensor(neutral[name], dtype=torch.float64) for name in neutral if is_fitted[name]}

    def validate_counts(self, counts: Tensor, class_names: Sequence[str]) -> None:
        """Check that decisions can be fitted on the validation rows.

        Args:
            counts: Number of validation rows of each class (C,).
            class_names: Names of the classes.

        Raises:
            ConfigError: There are too few rows, or the threshold needs a class that has none.
        """
        rows = int(counts.sum())
        if self.coverage is not None:
            conformal.check_rows(rows, self.coverage)
        missing = [name for name, count in zip(class_names, counts.tolist(), strict=True) if not count]
        if self.threshold in ("f1", "balanced_accuracy") and missing:
            raise ConfigError(
                f"task.threshold: {self.threshold} given; it needs validation rows of both classes, and there are none"
                f" of {missing[0]} among {format_count(rows, 'row')}"
            )

    def fit(
        self, logits: Tensor, target: Tensor, class_names: Sequence[str]
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        """Fit the decisions.

        Args:
            logits: Logits of the validation rows (N, C).
            target: Their classes (N,).
            class_names: Names of the classes.

        Returns:
            Fitted values by name, and the same as numbers with scores on these rows before and after.
        """
        values: dict[str, Tensor] = {}
        report: dict[str, float] = {}

        def keep(name: str, value: float) -> None:
            values[name], report[name] = torch.tensor(value, dtype=torch.float64), value

        scaled = logits
        if self.calibration is not None:
            keep(TEMPERATURE, fit_temperature(logits, target))
            scaled = scale_logits(logits, values)
            report |= _compare_calibration(logits, scaled, target)
        probabilities = to_double(scaled).softmax(1)
        if isinstance(self.threshold, str):
            second, positive = probabilities[:, 1], target == 1
            keep(THRESHOLD, thresholds.choose_threshold(second, positive, self.threshold, self.costs))
            counts = thresholds.count_at_thresholds(second, positive, second.new_tensor([0.5, report[THRESHOLD]]))
            scores = thresholds.score_thresholds(counts, self.threshold, self.costs).abs()
            metric = F1_PER_CLASS.name_members(class_names)[1] if self.threshold == "f1" else self.threshold
            report |= {f"{metric}_before": float(scores[0]), f"{metric}_after": float(scores[1])}
        elif self.threshold is not None:
            keep(THRESHOLD, self.threshold)
        if self.coverage is not None:
            scores = 1 - probabilities.gather(1, target.unsqueeze(1)).squeeze(1)
            keep(SCORE_QUANTILE, float(conformal.conformal_quantile(scores, self.coverage)))
        return values, report


def _compare_calibration(logits: Tensor, scaled: Tensor, target: Tensor) -> dict[str, float]:
    """Return NLL and calibration error of logits (N, C) before and after scaling."""
    report = {}
    for when, each in (("before", logits), ("after", scaled)):
        report[f"nll_{when}"] = float(F.cross_entropy(each.double(), target))
        report[f"ece_{when}"] = expected_calibration_error(bin_confidences(each.double().softmax(1), target))
    return report


def scale_logits(logits: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    """Return logits (B, C, ...) in single precision, divided by the temperature if one is fitted.

    Args:
        logits: Logits (B, C, ...).
        values: Fitted values, by name.
    """
    return logits.float() / float(values[TEMPERATURE]) if TEMPERATURE in values else logits.float()


def decide(scaled: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    """Return the predicted classes (B, ...): by the threshold if one is fitted, else the most likely ones.

    Args:
        scaled: Logits (B, C, ...) from ``scale_logits``.
        values: Fitted values, by name.
    """
    if THRESHOLD not in values:
        return scaled.argmax(1)
    return (to_double(scaled).softmax(1)[:, 1] >= float(values[THRESHOLD])).long()


def find_class_sets(scaled: Tensor, values: Mapping[str, Tensor]) -> Tensor:
    """Return whether each class is in the conformal set ``{c: 1 - p_c <= quantile}`` (B, C, ...), bool.

    With this score sets are the smallest on average. A row for which no class is likely enough has an empty set.

    Args:
        scaled: Logits (B, C, ...) from ``scale_logits``.
        values: Fitted values, by name, with the quantile of the scores ``1 - p_y`` of validation rows.

    References:
        Sadinle, Lei and Wasserman, Least Ambiguous Set-Valued Classifiers with Bounded Error Levels, JASA 2019.
    """
    return 1 - to_double(scaled).softmax(1) <= float(values[SCORE_QUANTILE])


def score_sets(scaled: Tensor, target: Tensor, values: Mapping[str, Tensor]) -> Score:
    """Return how many conformal sets contain the true class, and how many classes they have; nothing without sets.

    Args:
        scaled: Logits (N, C) from ``scale_logits``.
        target: True classes (N,).
        values: Fitted values, by name.
    """
    if SCORE_QUANTILE not in values:
        return {}
    sets = find_class_sets(scaled, values)
    return {"covered": sets.gather(1, target.unsqueeze(1)).sum(), "set_sizes": sets.sum()}


def select_positions(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits (N, C) and classes (N,) at evenly spaced positions of each row that are not ignored.

    Args:
        logits: Logits (B, C, ...).
        target: True classes (B, ...).
    """
    flat_logits = logits.float().reshape(*logits.shape[:2], -1).movedim(1, -1)
    flat_target = target.reshape(len(target), -1)
    num_positions = flat_target.shape[1]
    if num_positions > MAX_POSITIONS:
        positions = torch.linspace(0, num_positions - 1, MAX_POSITIONS, device=target.device).round().long()
        flat_logits, flat_target = flat_logits[:, positions], flat_target[:, positions]
    is_valid = flat_target != IGNORE_INDEX
    return flat_logits[is_valid], flat_target[is_valid]
