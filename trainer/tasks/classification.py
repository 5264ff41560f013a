"""Which of C classes: of an example, a step, a pixel or a node."""

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
from trainer.core.types import PluginMetric, PositiveInt, Probability
from trainer.data.readers import text_file
from trainer.metrics.classification import (
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
from trainer.utils.text import format_dtype


class Classification(ScoredTask):
    """Cross-entropy of logits against whole-number targets, or shares of classes (B, C) where rows are mixed. A single
    logit is the second class against a first one whose logit is zero, which is the logistic loss. The first of
    ``scores`` is the one that chooses the best weights. ``f1`` is the macro mean, ``f1_per_class`` each class's own;
    ``roc_auc`` of more than two classes is the mean of each class against the others.
    """

    shapes = "(B, C, ...) -> (B, ...)"

    optional_scores = ("accuracy", "nll", "perplexity", "f1", "auc", "mean_iou", "pixel_accuracy", "token_accuracy")

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
        self.needs_confusion = not {"f1", "f1_per_class", "mean_iou"}.isdisjoint(self.scores)
        self.class_counts: dict[str, Tensor] = {}
        self.has_ignored_targets = True

    def setup(self, data: Dataset) -> None:
        classes = data.info.sizes.get("num_classes", self.num_classes)
        if classes != self.num_classes:
            raise ConfigError(f"task.num_classes: {self.num_classes} given; the data has {classes} classes")
        self.class_names = list(data.info.class_names) or self.class_names
        pictures = data.image_inputs()
        self.image_input = (
            classification_plots.ImageInput(pictures[0], data.pixel_bounds(), data.test.get_row_names(first=0))
            if pictures
            else None
        )

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        if targets is None:
            raise ConfigError(f"task: classification needs class targets; the {split} split has none")
        if targets.dtype != torch.long:
            kind = format_dtype(targets.dtype)
            raise ConfigError(
                f"task: classification needs whole-number class targets; the {split} split has {kind}"
                " (task=regression learns real values)"
            )
        flat = targets.reshape(-1)
        counted = flat != IGNORE_INDEX
        wrong = counted & ((flat < 0) | (flat >= self.num_classes))
        if wrong.any():
            at = int(wrong.nonzero()[0])
            row = at // max(1, flat.numel() // len(targets))
            raise ConfigError(
                f"data: {split} labels must be 0..{self.num_classes - 1}; found {int(flat[at])} at row {row}"
            )
        # Known before the first step and never changed: where every target counts, nothing need be left out.
        self.has_ignored_targets = not bool(counted.all()) or (self.has_ignored_targets and split != "train")
        if targets.dim() <= 2:  # of maps, each different one may be here once
            self.class_counts[split] = flat[counted].bincount(minlength=self.num_classes).cpu()
        if not counted.any():
            raise ConfigError(f"data: every {split} label is {IGNORE_INDEX} (not counted): nothing to learn from")

    def num_loss_terms(self, batch: Batch) -> Tensor | int:
        target = batch.require_target()
        return len(batch) if target.is_floating_point() else (target != IGNORE_INDEX).sum()

    def predict_logits(self, batch: Batch) -> Tensor:
        """Scores before softmax, (B, C, ...) with C at least 2."""
        logits = self.forward_batch(batch)
        if logits.shape[1] != self.num_classes and (logits.shape[1], self.num_classes) != (1, 2):
            raise ConfigError(self._describe_width_mismatch(logits.shape[1]))
        if logits.shape[1] == 1:
            logits = torch.cat((torch.zeros_like(logits), logits), dim=1)
        target = batch.require_target()
        if target.shape != (logits.shape if target.is_floating_point() else (len(logits), *logits.shape[2:])):
            raise ConfigError(
                f"model: logits {tuple(logits.shape)} do not fit targets {tuple(target.shape)}:"
                " classification wants (B, C, ...) against (B, ...)"
            )
        return logits

    def _describe_width_mismatch(self, width: int) -> str:
        """That the model gives ``width`` numbers, by the key that says so if it has one of the usual names."""
        keys = inspect.signature(type(self.model)).parameters
        key = next((f"model.{name}" for name in ("out_features", "num_classes") if name in keys), "model")
        fitting = "1 or 2" if self.num_classes == 2 else str(self.num_classes)
        classes = f"{self.num_classes} classes ({text_file.join_names(self.class_names, 10)})"
        return f"{key}: {width} given; the data has {classes}, so it must be {fitting}, which it is where it is not set"

    def loss(self, batch: Batch, player: str) -> Tensor:
        logits, target = self.predict_logits(batch), batch.require_target()
        if not self.has_ignored_targets:
            return F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
        return masked_cross_entropy.cross_entropy(logits, target, self.label_smoothing)

    def score(self, batch: Batch) -> Score:
        logits = self.predict_logits(batch).float()
        target = batch.require_target()
        predicted = logits.argmax(1)
        nll = F.cross_entropy(logits, target, ignore_index=IGNORE_INDEX, reduction="sum")
        score: Score = {"nll": to_double(nll)}
        counted = target != IGNORE_INDEX if self.has_ignored_targets else slice(None)
        predicted, target = predicted[counted], target[counted]
        score["count"] = torch.tensor(target.numel(), device=target.device)
        score["correct"] = (predicted == target).sum()
        if self.needs_confusion:
            score["confusion"] = confusion_matrix(predicted.flatten(), target.flatten(), self.num_classes)
        if "auc" in self.scores and self.num_classes == 2:
            score["margin"] = RowValues((logits[:, 1] - logits[:, 0])[counted].flatten())
            score["positive"] = RowValues(target.flatten() == 1)
        elif "auc" in self.scores:
            score["logits"] = RowValues(logits.movedim(1, -1)[counted].reshape(-1, self.num_classes))
            score["truth"] = RowValues(target.flatten())
        if self.computed_metrics:
            score |= self.collect_rows(logits.movedim(1, -1)[counted].reshape(-1, self.num_classes), target.flatten())
        return score

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return scores.get("nll")

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Of saying the most frequent training class always: which ranks nothing, and is right about one class.

        Of classes that are equally frequent one is drawn, as for the accuracy: these are the scores on average.
        """
        known, each = {"auc": 0.5}, {}
        if self.class_counts.keys() >= {"train", "test"}:
            seen, truth = self.class_counts["train"], self.class_counts["test"].double()
            told = F.one_hot((seen == seen.max()).nonzero()[:, 0], self.num_classes).double()
            guesses = [truth[:, None] * guess for guess in told]
            known["f1"] = sum(map(f1_macro, guesses)) / len(guesses)
            if "f1_per_class" in self.scores:
                each = self.name_class_scores(
                    F1_PER_CLASS, torch.stack([f1_per_class(guess) for guess in guesses]).nanmean(0)
                )
        return {name: value for name, value in known.items() if name in self.scores} | each, {}

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        return classification_plots.make_plots(self.predict_logits, batches, self.class_names, self.image_input)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        count = float(totals["count"])
        share, nll = float(totals["correct"]) / count, float(totals["nll"]) / count
        known = {"accuracy": share, "pixel_accuracy": share, "token_accuracy": share, "nll": nll}
        known["perplexity"] = float(torch.tensor(nll).exp())
        if "logits" in totals:
            known["auc"] = roc_auc_macro(totals["logits"], totals["truth"])
        if "confusion" in totals:
            known["f1"] = f1_macro(totals["confusion"])
            each = iou_per_class(totals["confusion"])
            known["mean_iou"] = float(each.nanmean())
        if "margin" in totals:
            known["auc"] = roc_auc(totals["margin"], totals["positive"])
        found = self.select_scores(known, totals)
        if "mean_iou" in found:
            found |= self.name_class_scores(IOU_PER_CLASS, each)
        if "f1_per_class" in self.scores:
            found |= self.name_class_scores(F1_PER_CLASS, f1_per_class(totals["confusion"]))
        return found

    def name_class_scores(self, family: MetricFamily, values: Tensor) -> dict[str, float]:
        """A score of each class, by the class's name."""
        names = [family.get_member(name).name for name in self.class_names]
        return dict(zip(names, values.tolist(), strict=True))
