"""Model card of a run, ``README.md``: scores, training, data, limits and use, with the front matter of the Hub.

References:
    Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from trainer.export.card_usage import describe_inputs, describe_use
from trainer.inference.trained_model import TrainedModel
from trainer.metrics import registry
from trainer.metrics.registry import find_metric
from trainer.runs.results import Result
from trainer.utils import digests
from trainer.utils.text import escape_markdown, format_count, join_names
from trainer.viz.score_tables import format_decisions, format_number


def make_card(model: TrainedModel, result: Result, data_state: Mapping[str, Any]) -> str:
    """Return the text of a model card.

    Args:
        model: The model.
        result: Results of its run.
        data_state: State of the data set in the checkpoint of the run.
    """
    title = f"{result.model} trained on {result.data}"
    parts = {
        "": _describe_scores(result),
        "Training": _describe_training(result),
        "Data": _describe_data(model, result, data_state),
        "Limits": _describe_limits(model, result, data_state),
        "Use": describe_use(model),
    }
    sections = ["\n".join([*([f"## {name}", ""] if name else []), *lines]) for name, lines in parts.items()]
    return "\n\n".join([f"{_make_front_matter(result)}# {escape_markdown(title)}", *sections]) + "\n"


def _make_front_matter(result: Result) -> str:
    """Return the scores as a ``model-index``, those of the validation rows for a run that was not tested."""
    split, split_scores = ("test", result.test) if result.test else ("validation", result.val)
    scores = {
        "task": {"type": result.task, "name": result.task},
        "dataset": {"type": result.data, "name": result.data, "split": split},
        "metrics": [
            {"type": name, "name": f"{registry.get_label(name)} of the {split} rows", "value": value}
            for name, value in split_scores.items()
            if math.isfinite(value)
        ],
    }
    index = {"model-index": [{"name": f"{result.model}-{result.data}", "results": [scores]}]}
    return f"---\n{yaml.safe_dump(index, sort_keys=False, allow_unicode=True)}---\n\n"


def _make_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    cells = [header, tuple("---" for _ in header), *(tuple(map(escape_markdown, row)) for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def _describe_scores(result: Result) -> list[str]:
    groups = (result.test, result.baseline, result.best_possible, result.val)

    def make_row(name: str) -> tuple[str, ...]:
        metric = find_metric(name, result.higher_is_better)
        better = "" if metric is None else "higher" if metric.higher_is_better else "lower"
        return name, better, *(format_number(scores[name]) if name in scores else "" for scores in groups)

    header = ("metric", "better", "test rows", "baseline", "best possible", "validation rows")
    return [
        *([] if result.test else [f"The run is {result.status}: it was not tested.", ""]),
        *_make_table(header, [make_row(name) for name in result.test or result.val]),
        "",
        "The baseline is a trivial predictor. The best possible score is a bound that no model can beat on average,"
        " where it is known. The scores are those of one seed; their spread over seeds is not part of them.",
    ]


def _describe_training(result: Result) -> list[str]:
    rows = {
        "seed": str(result.seed),
        "epochs": str(result.epochs),
        "optimizer steps": f"{result.steps:,}",
        "parameters": f"{result.params:,}",
        "weights of": "all members of an ensemble, whose predictions are averaged"
        if result.ensemble
        else f"epoch {result.best_epoch}, selected by {result.monitor} of the validation rows",
        "versions": join_names(f"{name} {version}" for name, version in result.versions.items()),
    }
    return [*_make_table(("", ""), list(rows.items())), "", "`config.json` has the whole configuration."]


def _describe_data(model: TrainedModel, result: Result, data_state: Mapping[str, Any]) -> list[str]:
    contents, has_rows = data_state["contents"], data_state["excerpts"]["train"]["is_divisible"]
    (digest,) = digests.digest_parts({"data": [data_state]}).values()
    sizes = {name: size for name, size in model.data.info.sizes.items() if isinstance(size, int)}
    rows = {
        "data set": result.data,
        "rows": f"{contents['rows']:,} of training, validation and test"
        if has_rows
        else "one example, such as a graph",
        "fingerprint of the files": result.data_digest or "none, as no own files were read",
        "digest of encodings and first rows": digest,
        "sizes": join_names(f"{name} {size}" for name, size in sizes.items()),
    }
    names = {"columns": contents["columns"], "classes": model.class_names}
    rows |= {key: join_names(map(str, values)) for key, values in names.items() if len(values)}
    return _make_table(("", ""), list(rows.items()))


def _describe_limits(model: TrainedModel, result: Result, data_state: Mapping[str, Any]) -> list[str]:
    lines = ["The scores hold for rows drawn like those of training; for other rows nothing was measured."]
    if len(model.class_names):
        lines.append("Every prediction is one of the classes above, also for an input that belongs to none of them.")
    lines += describe_inputs(model)
    if result.decisions:
        decisions = escape_markdown(format_decisions(result.decisions))
        lines.append(f"Predictions use what was fitted on the validation rows: {decisions}.")
    elif len(model.class_names):
        lines.append("The label is the most probable class; no threshold and no calibration was fitted.")
    return [f"- {line}" for line in [*lines, _describe_private_parts(data_state)]]


def _describe_private_parts(data_state: Mapping[str, Any]) -> str:
    """Return what the files contain of the training data, for whoever publishes them."""
    excerpt = data_state["excerpts"]["train"]
    count = len(excerpt["index"])
    held = f"the first {format_count(count, 'row')} of training" if excerpt["is_divisible"] else "a whole example"
    return (
        f"The files hold a part of the data: {held} as encoded, with names of files, columns, categories and words."
        " Publish them only if you may publish these."
    )
