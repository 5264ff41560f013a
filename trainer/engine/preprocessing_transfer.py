"""Transfer of preprocessing: the stored values of another run by which the inputs of a new run are encoded.

The weights expect inputs in the same units and vocabularies. What belongs to the rows (splits, classes, targets) is
fitted on the new data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainer.core.dataset import Dataset
from trainer.core.preprocessing import Preprocessing
from trainer.engine.resized_parameters import CLASS_SIZES
from trainer.engine.weight_source import WeightSource
from trainer.utils import digests
from trainer.utils.text import join_names

MAX_LISTED_CLASSES = 6


def make_preprocessing(kind: type[Dataset], options: Mapping[str, Any], source: WeightSource) -> Preprocessing:
    """Return the preprocessing of a new run, which reuses the values of a source that encode the inputs.

    Args:
        kind: Class of the data set.
        options: Its keys in the configuration.
        source: The source.
    """
    if source.data_options.get("_target_") != options["_target_"]:
        return Preprocessing()
    changed_options = {
        name: [key for key in keys if key in source.data_options and source.data_options[key] != options.get(key)]
        for name, keys in kind.reusable_values.items()
    }
    values = Preprocessing(reusable=source.fitted_values).reusable
    reusable = {name: values[name] for name, changed in changed_options.items() if name in values and not changed}
    fitted = Preprocessing(reusable=reusable)
    fitted.rejections |= {
        name: f"other {join_names(f'data.{key}' for key in changed)}"
        for name, changed in changed_options.items()
        if name in values and changed
    }
    return fitted


def describe_preprocessing(fitted: Preprocessing | None) -> list[str]:
    """Return lines that say which values were reused, and which were fitted anew and why."""
    if fitted is None:
        return []
    anew = [name for name in fitted.values if name not in fitted.reused]
    reasons = {name: f"{name} ({reason})" for name, reason in fitted.rejections.items()}
    return [
        f"preprocessing {verb}: {join_names(names)}"
        for verb, names in (("of the source", fitted.reused), ("fitted anew", [reasons.get(n, n) for n in anew]))
        if names
    ]


def find_changed_sizes(source: WeightSource, data: Dataset) -> dict[str, str]:
    """Return the sizes that count other things than in a source, with the reason.

    Parameters of these sizes mean something else even if the numbers are equal: digits 5 to 9 are as many classes as
    0 to 4. Classes without names, and everything of a file, are taken for the same if there are as many.

    Args:
        source: The source.
        data: The data set.
    """
    if not source.data_state:
        return {}
    names, saved_names = [str(name) for name in data.info.class_names], list(source.class_names)
    num_classes, saved_num_classes = data.info.num_classes, source.sizes.get("num_classes")
    changed: dict[str, str] = {}
    if num_classes != saved_num_classes or (names and saved_names and names != saved_names):
        text = f"other classes: {_format_classes(names, num_classes)}"
        text += f" instead of {_format_classes(saved_names, saved_num_classes)}"
        changed |= {size: text for size in CLASS_SIZES if size in data.info.sizes}
    values = {} if data.fitted is None else data.fitted.values
    for size, name in type(data).counted_values.items():
        saved, current = (digests.digest_parts({"": [each.get(name)]}) for each in (source.fitted_values, values))
        if name in values and saved != current:
            changed[size] = f"other {name}"
    return changed


def describe_unknown_classes(source: WeightSource, data: Dataset) -> list[str]:
    """Return a line if a source and a data set have as many classes, but only one of them, or none, has their names.

    Args:
        source: The source.
        data: The data set.
    """
    has_names, has_saved_names = bool(data.info.class_names), bool(source.class_names)
    is_unknown = has_names != has_saved_names or not source.data_state
    is_same_number = source.sizes.get("num_classes", data.info.num_classes) == data.info.num_classes
    if data.info.num_classes is None or not is_unknown or not is_same_number:
        return []
    return ["classes: taken for those of the source, as not both have class names (init_skip leaves the head fresh)"]


def describe_moved_features(source: WeightSource, data: Dataset) -> list[str]:
    """Return a line if weights are copied that belong to other features, as those of a first layer do by position.

    Args:
        source: The source.
        data: The data set.
    """
    saved_names = type(data).get_feature_names(source.fitted_values)
    names = type(data).get_feature_names({} if data.fitted is None else data.fitted.values)
    moved = [(name, saved) for name, saved in zip(names, saved_names, strict=False) if name != saved]
    if len(names) != len(saved_names) or not moved:
        return []
    examples = join_names((f"{name} instead of {saved}" for name, saved in moved), MAX_LISTED_CLASSES)
    return [f"other features in the place of those of the source: {examples}; init_skip leaves their weights fresh"]


def _format_classes(names: Sequence[str], num_classes: int | None) -> str:
    if num_classes is None:
        return "none"
    return join_names(names, MAX_LISTED_CLASSES) if names else f"{num_classes} classes"
