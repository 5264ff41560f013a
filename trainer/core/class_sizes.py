"""Sizes that every data set with classes publishes."""

from __future__ import annotations


def class_sizes(num_classes: int) -> dict[str, int]:
    """Return the sizes of a target that is one of some classes.

    Args:
        num_classes: At least 2.

    Returns:
        ``num_classes``, and ``out_features``, which a model gives: the log-odds of the second of two, or else a score
        for each class.
    """
    return {"num_classes": num_classes, "out_features": 1 if num_classes == 2 else num_classes}
