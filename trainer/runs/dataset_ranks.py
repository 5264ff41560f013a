"""Ranks of settings that were trained on several data sets: table, sentence and diagram."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.table import Table
from rich.text import Text

from trainer.runs.finished_runs import REPLICATE_KEYS, FinishedRun, canonicalize_value
from trainer.runs.run_groups import format_value
from trainer.runs.setting_comparison import Runs, count_missing_scores, get_test_scores
from trainer.stats.rank_comparison import ALPHA, RankComparison, compare_ranks
from trainer.utils import atomic_write
from trainer.utils.text import escape_control_chars
from trainer.viz.console import console, print_line
from trainer.viz.score_tables import new_table

PLOT_FILE = "ranks.png"


@dataclass(frozen=True)
class DatasetRanks:
    """Ranks of the settings that have scores on every data set.

    Attributes:
        labels: Label of each setting.
        comparison: Their average ranks.
    """

    labels: Sequence[str]
    comparison: RankComparison


def rank_settings(tables: Iterable[Sequence[Runs]]) -> DatasetRanks | None:
    """Rank settings over data sets by their mean test scores.

    Settings on different data sets are the same if their models are, and their overrides other than those of the data.
    Each data set counts once, whatever its number of seeds.

    Args:
        tables: Runs of each setting, for each data set.

    Returns:
        The ranks; None for fewer than two data sets, or than two settings that all of them have.
    """
    by_data = [scores for settings in tables if (scores := _collect_scores(settings))]
    if len(by_data) < 2:
        return None
    common = [label for label in by_data[0] if all(label in scores for scores in by_data)]
    if len(common) < 2:
        return None
    matrix = np.array([[scores[label] for label in common] for scores in by_data])
    return DatasetRanks(_drop_common_words(common), compare_ranks(matrix, higher_is_better=True))


def _drop_common_words(labels: Sequence[str]) -> list[str]:
    """Return labels without the ``key=value`` that all of them have."""
    common = set.intersection(*(set(label.split(" ")) for label in labels))
    return [" ".join(word for word in label.split(" ") if word not in common) for label in labels]


def _collect_scores(settings: Sequence[Runs]) -> dict[str, float]:
    """Return the mean test score of each setting, negative if lower is better.

    Settings that differ in options of the data alone are left out, as are those of which seeds have no score.
    """
    metric = settings[0][0].metric
    if metric is None:
        return {}
    labels = [" ".join(_list_key_texts(runs)) for runs in settings]
    counts = Counter(labels)
    sign = 1 if metric.higher_is_better else -1
    means = {
        label: sign * statistics.fmean(scores.values()) if (scores := get_test_scores(runs)) else math.nan
        for label, runs in zip(labels, settings, strict=True)
        if counts[label] == 1 and not count_missing_scores(runs)
    }
    return {label: mean for label, mean in means.items() if math.isfinite(mean)}


def _list_key_texts(runs: Runs) -> list[str]:
    """Return the model and the overrides other than those of the data as texts, in a fixed order."""
    run = runs[0]
    keys = sorted(key for key in run.explicit_overrides if _is_setting_key(run, key))
    values = (run.get_value(key) for key in keys)
    texts = (format_value(value) if isinstance(value, str) else _format_number(value) for value in values)
    return [f"model={run.results['model']}", *(f"{key}={text}" for key, text in zip(keys, texts, strict=True))]


def _is_setting_key(run: FinishedRun, key: str) -> bool:
    return not run.is_ignored_key(key) and key not in REPLICATE_KEYS and not key.startswith("data.")


def _format_number(value: object) -> str:
    """Format equal numbers alike, such as 1 and 1.0."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return canonicalize_value(value).removesuffix(".0") if is_number else format_value(value)


def show_ranks(tables: Sequence[Sequence[Runs]], path: Path) -> None:
    """Print the ranks of settings over data sets, and save their diagram, if there are several of both.

    Args:
        tables: Runs of each setting, for each data set.
        path: Directory of the leaderboard.

    Raises:
        SystemFault: The diagram was not saved.
    """
    ranked = rank_settings(tables)
    if ranked is None:
        return
    comparison = ranked.comparison
    print_line(f"ranks over {comparison.num_datasets} data sets, by mean test score")
    console.print(_build_table(ranked))
    console.print(Text(escape_control_chars(describe_ranks(ranked))), overflow="fold")
    from trainer.viz.rank_plot import draw_ranks

    title = f"Average rank over {comparison.num_datasets} data sets"
    with atomic_write.replace_file(path / PLOT_FILE) as temporary:
        draw_ranks(ranked.labels, comparison.ranks, comparison.critical_difference, comparison.groups, title, temporary)
    print_line(f"diagram: {path / PLOT_FILE}")


def _build_table(ranked: DatasetRanks) -> Table:
    table = new_table(None)
    table.add_column("setting", overflow="fold")
    table.add_column("rank", justify="right")
    for label, rank in sorted(zip(ranked.labels, ranked.comparison.ranks, strict=True), key=lambda pair: pair[1]):
        table.add_row(Text(escape_control_chars(label)), f"{rank:.2f}")
    return table


def describe_ranks(ranked: DatasetRanks) -> str:
    """Return a sentence about which ranks differ."""
    comparison = ranked.comparison
    if comparison.p_value > ALPHA:
        return f"no difference shown over these data sets (Friedman test, p {comparison.p_value:.2g})"
    best = min(range(len(ranked.labels)), key=lambda index: comparison.ranks[index])
    worse = [label for index, label in enumerate(ranked.labels) if comparison.differ(best, index)]
    distance = f"critical difference {comparison.critical_difference:.2f}"
    if not worse:
        return f"not all are equal (p {comparison.p_value:.2g}), but none is far enough below the first ({distance})"
    return f"{ranked.labels[best]}: better than {', '.join(worse)} ({distance})"
