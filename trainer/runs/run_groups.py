"""Groups of finished runs: replicates of one setting, and settings on the same data, with their labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trainer.runs.finished_runs import REPLICATE_KEYS, FinishedRun, canonicalize_value

SOURCE_OPTIONS = ("name", "path", "test_path", "source", "target")
"""Options of a data set that select its source and target."""
DIGEST_LENGTH = 8
"""Displayed characters of a digest."""


def group_by_setting(runs: Iterable[FinishedRun]) -> list[list[FinishedRun]]:
    """Group runs of one setting; of runs with the same seed and fold, only the newest is kept."""
    groups: dict[tuple[str, str], dict[tuple[str, str], FinishedRun]] = {}
    for run in sorted(runs, key=lambda run: run.mtime_ns):
        groups.setdefault((run.setting_key, run.monitor), {})[run.replicate_key] = run
    return [list(group.values()) for group in groups.values()]


def group_by_data(groups: Iterable[list[FinishedRun]]) -> list[tuple[str, list[list[FinishedRun]]]]:
    """Group settings whose scores are on the same rows and thus comparable, with a title for each group.

    Files with the same name and different contents are different data. Options of the data set that do not change the
    baseline and the best possible score affect only the encoding of rows.
    """
    sources_to_groups: dict[tuple[str, ...], list[list[FinishedRun]]] = {}
    for group in groups:
        first = group[0]
        sources = [
            f"{name}={first.data_options[f'data.{name}']}"
            for name in SOURCE_OPTIONS
            if first.data_options.get(f"data.{name}")
        ]
        sources_to_groups.setdefault((str(first.results["data"]), first.monitor, *sources), []).append(group)
    return [
        (_format_title(key[0], [*key[2:], *contents], options), part)
        for key, same_source in sources_to_groups.items()
        for contents, same_groups in _group_by_contents(same_source)
        for options, part in _group_by_reference_scores(same_groups, key[1])
    ]


def _group_by_contents(groups: Sequence[list[FinishedRun]]) -> list[tuple[list[str], list[list[FinishedRun]]]]:
    """Split runs on one source by the contents of its files, with the digest where there are several."""
    parts: dict[str, list[list[FinishedRun]]] = {}
    for group in groups:
        parts.setdefault(group[0].data_digest, []).append(group)
    return [
        ([f"contents {digest[:DIGEST_LENGTH] or 'unknown'}"] if len(parts) > 1 else [], part)
        for digest, part in parts.items()
    ]


def _group_by_reference_scores(
    groups: Sequence[list[FinishedRun]], monitor: str
) -> list[tuple[list[str], list[list[FinishedRun]]]]:
    """Split runs on one source by baseline and best possible score, with the options that differ."""
    by_options: dict[str, list[list[FinishedRun]]] = {}
    for group in groups:
        by_options.setdefault(
            repr(sorted((k, canonicalize_value(v)) for k, v in group[0].data_options.items())), []
        ).append(group)
    parts: dict[tuple[str, ...], list[list[FinishedRun]]] = {}
    for same_groups in by_options.values():
        runs = same_groups[0]
        scores = (average_score(runs, group, monitor) for group in ("baseline", "best_possible"))
        parts.setdefault(tuple("" if score is None else f"{score:.9g}" for score in scores), []).extend(same_groups)
    # Without scores to compare, differences are unknown.
    if len(parts) == 1 or ("", "") in parts:
        return [([], list(groups))]
    first_runs = [part[0][0] for part in parts.values()]
    keys = find_differing_keys([[run] for run in first_runs], [key for run in first_runs for key in run.data_options])
    return [
        ([f"{key.removeprefix('data.')}={format_value(part[0][0].get_value(key))}" for key in keys], part)
        for part in parts.values()
    ]


def _format_title(name: str, sources: Sequence[str], options: Sequence[str]) -> str:
    details = ", ".join([*sources, *options])
    return f"{name} ({details})" if details else name


def find_differing_keys(groups: Sequence[list[FinishedRun]], keys: Iterable[str]) -> list[str]:
    """Return the keys in which settings differ, in order.

    Args:
        groups: Runs of each setting.
        keys: Candidates.
    """
    return [
        key for key in dict.fromkeys(keys) if len({canonicalize_value(group[0].get_value(key)) for group in groups}) > 1
    ]


def label_settings(groups: Sequence[list[FinishedRun]]) -> list[str]:
    """Label settings by the explicitly set keys in which they differ; a single one by all that were set."""
    set_keys = [key for group in groups for run in group for key in run.explicit_overrides if _is_label_key(run, key)]
    keys = find_differing_keys(groups, set_keys) if len(groups) > 1 else list(dict.fromkeys(set_keys))
    labels = [_format_label(group[0], keys) for group in groups]
    for name in {str(group[0].results["model"]) for group in groups}:
        indices = [index for index, group in enumerate(groups) if group[0].results["model"] == name]
        if len({labels[index] for index in indices}) < len(indices):
            # They differ in a YAML file, or in a default that has changed.
            first_runs = [groups[index][0] for index in indices]
            all_keys = [key for run in first_runs for key in run.config if _is_label_key(run, key)]
            differing_keys = find_differing_keys([groups[index] for index in indices], all_keys)
            for index in indices:
                labels[index] = _format_label(groups[index][0], list(dict.fromkeys([*keys, *differing_keys])))
    return labels


def _is_label_key(run: FinishedRun, key: str) -> bool:
    """Return whether a key may appear in a label: not those shared by all replicates or all rows of a table."""
    source_keys = {f"data.{name}" for name in SOURCE_OPTIONS}
    return not run.is_ignored_key(key) and key not in REPLICATE_KEYS and key not in source_keys


def _format_label(run: FinishedRun, keys: Iterable[str]) -> str:
    known_keys = [key for key in keys if key in run.config or run.get_value(key) is not None]
    return " ".join(f"{key}={format_value(run.get_value(key))}" for key in known_keys)


def format_value(value: object) -> str:
    """Format a value as on a command line."""
    if isinstance(value, list):
        return f"[{','.join(map(format_value, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def average_score(runs: Iterable[FinishedRun], group: str, name: str) -> float | None:
    """Return the mean of a score over the runs that have it; None if none has it.

    Args:
        runs: The runs, such as folds, each with its own baseline.
        group: Group of scores, such as ``test`` or ``baseline``.
        name: Name of the metric.
    """
    scores = [run.results[group].get(name) for run in runs]
    numbers = [score for score in scores if isinstance(score, float | int)]
    return sum(numbers) / len(numbers) if numbers else None
