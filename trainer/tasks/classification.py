"""Classification of examples, steps, pixels or nodes."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.artifacts import Artifact, LazyArtifact
from trainer.core.batch import IGNORE_INDEX, Batch, RowValues, Score
from trainer.core.dataset import Dataset
from trainer.core.prediction import Prediction
from trainer.core.types import PluginMetric, PositiveInt, Probability
from trainer.metrics.classification import (
    accuracy,
    confusion_matrix,
    f1_macro,
    f1_per_class,
    iou_per_class,
    roc_auc,
    roc_auc_macro,
)
from trainer.metrics.double_precision import to_double
from trainer.metrics.registry import F1_PER_CLASS, IOU_PER_CLASS, MetricFamily
from trainer.tasks.base.scored_task import ScoredTask
from trainer.tasks.evaluation import classification_plots
from trainer.tasks.losses import masked_cross_entropy
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_dtype, join_names


class Classification(ScoredTask):
    """Classification by cross-entropy with class indices (B, ...), or with class probabilities (B, C, ...) of mixup.

    The loss is ``-mean_b log softmax(logits_b)[target_b]``. A single logit is that of the second of two classes, with 0
    for the first, which gives the logistic loss ``softplus(-logit)`` of the second class.

    Args:
        model: Model with logits (B, C, ...), or (B, 1, ...) for two classes.
        num_classes: Number of classes C.
        label_smoothing: Probability mass that is spread uniformly over all classes.
        scores: Reported metrics; the first one selects the best weights. ``f1`` is the macro average, ``f1_per_class``
            reports each class; ``auc`` of more than two classes is the macro one-vs-rest average.

    References:
        Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016 (label smoothing).
    """

    shapes = "(B, C, ...) -> (B, ...)"
    predicts_classes = True

    optional_scores = ("accuracy", "nll", "perplexity", "f1", "auc", "mean_iou", "pixel_accuracy", "token_accuracy")
    evaluation_scores = ("accuracy", "nll", "perplexity", "f1", "auc", "f1_per_class")
    scores_outputs = True

    def __init__(
        self,
        model: nn.Module,
        num_classes: PositiveInt,
        label_smoothing: Probability = 0.0,
        scores: Sequence[
            Literal["accuracy", "nll", "perplexity", "f1", "f1_per_class", "auc"]
            | Literal["mean_iou", "pixel_accuracy", "token_accuracy"]
            | PluginMetric
        ] = ("accuracy", "nll", "f1"),
    ):
        super().__init__(model, scores)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.class_names = [str(c) for c in range(num_classes)]
        self.image_input: classification_plots.ImageInput | None = None
        self.class_counts: dict[str, Tensor] = {}
        self.has_ignored_targets = True

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
        if targets.dim() <= 2:  # get_targets may deduplicate segmentation maps, so their counts would be wrong
            self.class_counts[split] = flat[valid].bincount(minlength=self.num_classes).cpu()
        if not valid.any():
            raise ConfigError(f"data: every {split} label is {IGNORE_INDEX} (ignored): nothing to train on")

    def num_loss_terms(self, batch: Batch) -> Tensor | int:
        target = batch.require_target()
        return len(batch) if target.is_floating_point() else (target != IGNORE_INDEX).sum()

    def compute_logits(self, batch: Batch) -> Tensor:
        """Return the logits (B, C, ...) of a batch, with C at least 2; it needs no targets.

        Raises:
            ConfigError: The logits do not have C classes.
        """
        logits = self.forward_batch(batch)
        if logits.shape[1] != self.num_classes and (logits.shape[1], self.num_classes) != (1, 2):
            raise ConfigError(self._describe_width_mismatch(logits))
        return torch.cat((torch.zeros_like(logits), logits), dim=1) if logits.shape[1] == 1 else logits

    def predict(self, batch: Batch) -> Prediction:
        logits = self.compute_logits(batch)
        # In double precision, so that probabilities sum to one for those who check.
        return {"label": logits.argmax(1), "probabilities": to_double(logits).softmax(1)}

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
        if not self.has_ignored_targets:
            return F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
        return masked_cross_entropy.cross_entropy(logits, target, self.label_smoothing)

    def score(self, batch: Batch) -> Score:
        logits = self.predict_logits(batch).float()
        target = batch.require_target()
        predicted = logits.argmax(1)
        score: Score = {"nll": masked_cross_entropy.sum_nll(logits, target)}
        # Without ignored targets a slice avoids the synchronization of a boolean mask.
        valid = target != IGNORE_INDEX if self.has_ignored_targets else slice(None)
        predicted, target = predicted[valid], target[valid]
        score["count"] = torch.tensor(target.numel(), device=target.device)
        score["correct"] = (predicted == target).sum()
        if not {"f1", "f1_per_class", "mean_iou"}.isdisjoint(self.scores):
            score["confusion"] = confusion_matrix(predicted.flatten(), target.flatten(), self.num_classes)
        if "auc" in self.scores and self.num_classes == 2:
            score["margin"] = RowValues((logits[:, 1] - logits[:, 0])[valid].flatten())
            score["positive"] = RowValues(target.flatten() == 1)
        elif "auc" in self.scores:
            score["logits"] = RowValues(logits.movedim(1, -1)[valid].reshape(-1, self.num_classes))
            score["truth"] = RowValues(target.flatten())
        if self.computed_metrics:
            score |= self.collect_rows(logits.movedim(1, -1)[valid].reshape(-1, self.num_classes), target.flatten())
        return score

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return scores.get("nll")

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return the expected scores of predicting the most frequent training class.

        Among equally frequent classes one is drawn, as for the accuracy baseline.
        """
        baseline, class_scores = {"auc": 0.5}, {}
        if self.class_counts.keys() >= {"train", "test"}:
            train_counts, truth = self.class_counts["train"], self.class_counts["test"].double()
            majority = F.one_hot((train_counts == train_counts.max()).nonzero()[:, 0], self.num_classes).double()
            confusions = [truth[:, None] * prediction for prediction in majority]
            baseline["f1"] = sum(map(f1_macro, confusions)) / len(confusions)
            if "f1_per_class" in self.scores:
                class_scores = self.name_class_scores(
                    F1_PER_CLASS, torch.stack([f1_per_class(confusion) for confusion in confusions]).nanmean(0)
                )
        return {name: value for name, value in baseline.items() if name in self.scores} | class_scores, {}

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        return classification_plots.make_plots(self.predict_logits, batches, self.class_names, self.image_input)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        count = float(totals["count"])
        share, nll = accuracy(totals["correct"], totals["count"]), float(totals["nll"]) / count
        scores = {"accuracy": share, "pixel_accuracy": share, "token_accuracy": share, "nll": nll}
        scores["perplexity"] = float(torch.tensor(nll).exp())
        if "logits" in totals:
            scores["auc"] = roc_auc_macro(totals["logits"], totals["truth"])
        if "confusion" in totals:
            scores["f1"] = f1_macro(totals["confusion"])
            iou = iou_per_class(totals["confusion"])
            scores["mean_iou"] = float(iou.nanmean())
        if "margin" in totals:
            scores["auc"] = roc_auc(totals["margin"], totals["positive"])
        selected = self.select_scores(scores, totals)
        if "mean_iou" in selected:
            selected |= self.name_class_scores(IOU_PER_CLASS, iou)
        if "f1_per_class" in self.scores:
            selected |= self.name_class_scores(F1_PER_CLASS, f1_per_class(totals["confusion"]))
        return selected

    def name_class_scores(self, family: MetricFamily, values: Tensor) -> dict[str, float]:
        """Return the metrics of each class, by name.

        Args:
            family: Metrics of all classes, such as the F1 scores.
            values: Values (C,).
        """
        return dict(zip(family.name_members(self.class_names), values.tolist(), strict=True))
