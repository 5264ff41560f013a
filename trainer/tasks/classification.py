"""Classification of examples, steps, pixels or nodes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.artifacts import Artifact, LazyArtifact
from trainer.core.batch import IGNORE_INDEX, Batch, RowValues, Score
from trainer.core.dataset import Dataset
from trainer.core.inference_module import InferenceModule
from trainer.core.prediction import Prediction
from trainer.core.row_terms import MetricTerms
from trainer.core.types import Fraction, NonNegativeFloat, PluginMetric, PositiveInt, Probability
from trainer.metrics.double_precision import to_double
from trainer.tasks.base.scored_task import ScoredTask
from trainer.tasks.evaluation import class_decisions, classification_plots, classification_scores, row_terms
from trainer.tasks.evaluation.probability_average import average_logits
from trainer.tasks.losses import masked_cross_entropy
from trainer.tasks.losses.class_weights import (
    balance_class_weights,
    count_classes,
    has_target_maps,
    make_class_weights,
    sum_target_weights,
)
from trainer.tasks.losses.weighted_cross_entropy import focal_loss, weighted_cross_entropy
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_dtype, join_names


class Classification(ScoredTask):
    """Classification by cross-entropy with class indices (B, ...), or with class probabilities (B, C, ...) of mixup.

    The loss is ``-mean_b log softmax(logits_b)[target_b]``. A single logit is that of the second of two classes, with 0
    for the first, which gives the logistic loss ``softplus(-logit)`` of the second class.

    ``class_weights`` and ``focal_gamma`` change the loss alone. ``calibration``, ``threshold`` and ``coverage`` are
    fitted on the validation rows after training, in this order, and are part of the test scores and predictions.

    Args:
        model: Model with logits (B, C, ...), or (B, 1, ...) for two classes.
        num_classes: Number of classes C.
        label_smoothing: Probability mass that is spread uniformly over all classes.
        class_weights: Weight of each class in the loss; ``balanced`` gives every class the same total weight over the
            training rows; null for equal weights of the rows.
        focal_gamma: Exponent of the focal loss; 0 for the cross-entropy.
        threshold: Smallest probability of the second of two classes at which it is predicted: a number, or the one with
            the best F1 score of that class, balanced accuracy or mean cost; null for the more likely class.
        costs: Costs of a false positive and of a false negative, for ``threshold=cost``.
        calibration: ``temperature`` divides the logits by the number that minimizes the NLL; null does not.
        coverage: Probability with which the conformal set of a row contains its class; null for no sets.
        scores: Reported metrics; the first one selects the best weights. ``f1`` is the macro average, ``f1_per_class``
            reports each class; ``auc`` and ``average_precision`` of more than two classes are macro one-vs-rest
            averages; ``ece`` is the expected calibration error.

    References:
        Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016 (label smoothing).
        Lin et al., Focal Loss for Dense Object Detection, ICCV 2017.
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (temperature, calibration error).
        Angelopoulos and Bates, A Gentle Introduction to Conformal Prediction, 2021 (sets, with the score 1 - p_y).
    """

    shapes = "(B, C, ...) -> (B, ...)"
    predicts_classes = True
    class_weights: Tensor | None

    optional_scores = (
        *("accuracy", "nll", "perplexity", "f1", "balanced_accuracy", "macro_precision", "macro_recall", "mcc"),
        *("auc", "average_precision", "ece", "mean_iou", "pixel_accuracy", "token_accuracy"),
    )
    evaluation_scores = (
        *("accuracy", "nll", "perplexity", "f1", "balanced_accuracy", "macro_precision", "macro_recall", "mcc"),
        *("auc", "average_precision", "ece", "precision_per_class", "recall_per_class", "f1_per_class"),
    )
    scores_outputs = True

    def __init__(
        self,
        model: nn.Module,
        num_classes: PositiveInt,
        label_smoothing: Probability = 0.0,
        class_weights: Literal["balanced"] | Sequence[NonNegativeFloat] | None = None,
        focal_gamma: NonNegativeFloat = 0.0,
        threshold: Literal["f1", "balanced_accuracy", "cost"] | Fraction | None = None,
        costs: Sequence[NonNegativeFloat] | None = None,
        calibration: Literal["temperature"] | None = None,
        coverage: Fraction | None = None,
        scores: Sequence[
            Literal["accuracy", "nll", "perplexity", "f1", "f1_per_class", "auc", "average_precision"]
            | Literal["balanced_accuracy", "macro_precision", "macro_recall", "mcc", "ece"]
            | Literal["precision_per_class", "recall_per_class", "mean_iou", "pixel_accuracy", "token_accuracy"]
            | PluginMetric
        ] = ("accuracy", "nll", "f1"),
    ):
        super().__init__(model, scores)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.loss_floor = None if label_smoothing else 0.0
        if focal_gamma and label_smoothing:
            raise ValueError(f"focal_gamma: {focal_gamma} given; it must be 0 with label_smoothing={label_smoothing}")
        self.focal_gamma = focal_gamma
        self.balances_classes = class_weights == "balanced"
        # Saved with the weights, because a restored data set has only some of the training rows.
        self.register_buffer("class_weights", make_class_weights(class_weights, num_classes))
        self.class_decisions = class_decisions.ClassDecisions(num_classes, threshold, costs, calibration, coverage)
        self.class_names = [str(c) for c in range(num_classes)]
        self.image_input: classification_plots.ImageInput | None = None
        self.class_counts: dict[str, Tensor] = {}
        self.has_ignored_targets = True
        self.has_target_maps = False

    def setup(self, data: Dataset) -> None:
        classes = data.info.sizes.get("num_classes", self.num_classes)
        if classes != self.num_classes:
            raise ConfigError(f"task.num_classes: {self.num_classes} given; the data has {classes} classes")
        self.class_names = list(data.info.class_names) or self.class_names
        image_inputs = data.image_inputs()
        self.image_input = None
        if image_inputs:
            row_names = data.test.get_row_names(first=0)
            self.image_input = classification_plots.ImageInput(image_inputs[0], data.pixel_bounds(), row_names)
        self.has_target_maps = has_target_maps(data.train)
        if self.balances_classes:
            self.class_weights = balance_class_weights(count_classes(data.train, self.num_classes))

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        if targets is None:
            raise ConfigError(f"task: classification needs class targets; the {split} split has none")
        if targets.dtype != torch.long:
            dtype = format_dtype(targets.dtype)
            raise ConfigError(
                f"task: classification needs integer class targets; the {split} split has {dtype}"
                " (use task=regression for real values)"
            )
        flat = targets.reshape(-1)
        valid = flat != IGNORE_INDEX
        is_invalid = valid & ((flat < 0) | (flat >= self.num_classes))
        if is_invalid.any():
            position = int(is_invalid.nonzero()[0])
            row = position // max(1, flat.numel() // len(targets))
            raise ConfigError(
                f"data: {split} labels must be 0..{self.num_classes - 1}; found {int(flat[position])} at row {row}"
            )
        # Constant during training, which validates the training split first; without them the loss needs no mask.
        if split == "train":
            self.has_ignored_targets = False
        if not valid.all():
            self.has_ignored_targets = True
        if not self.has_target_maps:  # get_targets may deduplicate them, so their counts would be wrong
            self.class_counts[split] = flat[valid].bincount(minlength=self.num_classes).cpu()
        if not valid.any():
            raise ConfigError(f"data: every {split} label is {IGNORE_INDEX} (ignored): nothing to train on")

    def num_loss_terms(self, batch: Batch) -> Tensor | int:
        target = batch.require_target()
        if target.is_floating_point():
            return len(batch)
        if self.class_weights is not None:
            return sum_target_weights(target, self.class_weights)
        return (target != IGNORE_INDEX).sum()

    def make_inference_module(self) -> InferenceModule:
        decisions = {name: float(value) for name, value in self.decisions.items()}
        outputs = {"kind": "classes", "class_names": self.class_names, **decisions}
        return replace(super().make_inference_module(), outputs=outputs)

    def compute_logits(self, batch: Batch) -> Tensor:
        """Return the logits (B, C, ...) of a batch, with C at least 2; it needs no targets.

        Raises:
            ConfigError: The logits do not have C classes.
        """
        logits = self.forward_batch(batch)
        if logits.shape[1] != self.num_classes and (logits.shape[1], self.num_classes) != (1, 2):
            raise ConfigError(self._describe_width_mismatch(logits))
        return torch.cat((torch.zeros_like(logits), logits), dim=1) if logits.shape[1] == 1 else logits

    def choose_labels(self, probabilities: Tensor) -> Tensor:
        return class_decisions.decide(probabilities.log(), self.decisions)

    def average_outputs(self, outputs: Tensor) -> Tensor:
        return average_logits(outputs)

    def predict(self, batch: Batch) -> Prediction:
        """Return predicted classes (K, ...), probabilities (K, C, ...), and the conformal sets of single classes."""
        scaled = class_decisions.scale_logits(self.compute_logits(batch), self.decisions)
        # In double precision, so that probabilities sum to one for those who check.
        fields = {
            "label": class_decisions.decide(scaled, self.decisions),
            "probabilities": to_double(scaled).softmax(1),
        }
        if class_decisions.SCORE_QUANTILE in self.decisions and scaled.dim() == 2:
            fields["class_set"] = class_decisions.find_class_sets(scaled, self.decisions)
        return fields

    def predict_logits(self, batch: Batch) -> Tensor:
        """Return the logits (B, C, ...) of a batch with targets, with C at least 2.

        Raises:
            ConfigError: The logits do not have C classes or do not match the targets.
        """
        logits, target = self.compute_logits(batch), batch.require_target()
        expected_shape = logits.shape if target.is_floating_point() else logits.shape[:1] + logits.shape[2:]
        if target.shape != expected_shape:
            raise ConfigError(
                f"model: logits {tuple(logits.shape)} do not fit targets {tuple(target.shape)}:"
                " classification needs (B, C, ...) against (B, ...)"
            )
        return logits

    def _describe_width_mismatch(self, logits: Tensor) -> str:
        """Describe a wrong number of model outputs, by the configuration key that sets it if it has a usual name."""
        keys = inspect.signature(type(self.model)).parameters
        key = next((f"model.{name}" for name in ("out_features", "num_classes") if name in keys), None)
        classes = f"the data has {self.num_classes} classes ({join_names(self.class_names, 10)})"
        widths = ["1", "2"] if self.num_classes == 2 else [str(self.num_classes)]
        if key is not None and type(self.model).__module__.startswith("trainer."):
            return f"{key}: {logits.shape[1]} given; {classes}, so it must be {' or '.join(widths)}, as set by default"
        # The forward of a plugin may ignore the key.
        trailing_sizes = "".join(f", {size}" for size in logits.shape[2:])
        actual_shape, *valid_shapes = (f"(B, {width}{trailing_sizes})" for width in (logits.shape[1], *widths))
        hint = f"; the data sets {key} by default" if key else ""
        return f"model: forward returned {actual_shape}; {classes}, so it must return {' or '.join(valid_shapes)}{hint}"

    def loss(self, batch: Batch, group: str) -> Tensor:
        logits, target = self.predict_logits(batch), batch.require_target()
        if self.focal_gamma:
            return focal_loss(logits, target, self.focal_gamma, self.class_weights)
        if self.class_weights is not None:
            return weighted_cross_entropy(logits, target, self.class_weights, self.label_smoothing)
        if not self.has_ignored_targets:
            logits, target = masked_cross_entropy.flatten_maps(logits, target)
            return F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
        return masked_cross_entropy.cross_entropy(logits, target, self.label_smoothing)

    def score(self, batch: Batch) -> Score:
        (logits, predicted), target = self.predict_classes(batch), batch.require_target()
        score: Score = {"nll": masked_cross_entropy.sum_nll(logits, target)}
        # Without ignored targets a slice avoids the synchronization of a boolean mask.
        valid = target != IGNORE_INDEX if self.has_ignored_targets else slice(None)
        rows = logits.movedim(1, -1)[valid].reshape(-1, self.num_classes)
        predicted, target = predicted[valid].flatten(), target[valid].flatten()
        score |= classification_scores.collect(self.scores, rows, predicted, target)
        score |= class_decisions.score_sets(rows, target, self.decisions)
        return score | self.collect_rows(rows, target)

    def collect_row_terms(self, batch: Batch) -> dict[str, MetricTerms]:
        return row_terms.make_class_terms(*self.predict_classes(batch), batch.require_target())

    def example_decisions(self) -> dict[str, Tensor]:
        return self.class_decisions.examples()

    def validate_decision_targets(self, targets: Tensor | None) -> None:
        if targets is not None and not self.has_target_maps:
            self.class_decisions.validate_counts(self.class_counts["val"], self.class_names)

    def collect_decision_rows(self, batch: Batch) -> Score:
        logits, target = class_decisions.select_positions(self.predict_logits(batch), batch.require_target())
        return {"logits": RowValues(logits), "target": RowValues(target)}

    def fit_decisions(self, totals: dict[str, Tensor]) -> dict[str, float]:
        self.decisions, report = self.class_decisions.fit(totals["logits"], totals["target"], self.class_names)
        return report

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        """Return the NLL; None where the training loss has another scale."""
        return scores.get("nll") if self.class_weights is None and not self.focal_gamma else None

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the expected scores of predicting the most frequent training class."""
        baseline = {"auc": 0.5} if "auc" in self.scores else {}
        if self.class_counts.keys() >= {"train", "test"}:
            baseline |= classification_scores.score_most_frequent_class(
                self.scores, self.class_counts["train"], self.class_counts["test"], self.class_names
            )
        return baseline, {}

    def predict_classes(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the scaled logits (B, C, ...) of a batch with targets, and the predicted classes (B, ...)."""
        scaled = class_decisions.scale_logits(self.predict_logits(batch), self.decisions)
        return scaled, class_decisions.decide(scaled, self.decisions)

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        return classification_plots.make_plots(self.predict_classes, batches, self.class_names, self.image_input)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        scores = self.select_scores(classification_scores.compute(self.scores, totals), totals)
        if "confusion" in totals:
            scores |= classification_scores.compute_class_scores(self.scores, [totals["confusion"]], self.class_names)
        if "covered" in totals:
            scores["coverage"] = float(totals["covered"]) / float(totals["count"])
            scores["set_size"] = float(totals["set_sizes"]) / float(totals["count"])
        return scores
