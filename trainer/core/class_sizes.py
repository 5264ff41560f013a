"""Sizes reported by data sets with classes."""

from __future__ import annotations


def class_sizes(num_classes: int) -> dict[str, int]:
    """Return the sizes of a classification target.

    Args:
        num_classes: Number of classes, at least 2.

    Returns:
        ``num_classes``, and ``out_features``, the number of logits of a model: 1 for two classes, the log-odds of the
        second one, otherwise one per class.
    """
    return {"num_classes": num_classes, "out_features": 1 if num_classes == 2 else num_classes}
