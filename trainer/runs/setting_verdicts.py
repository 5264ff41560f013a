"""Sentences about which settings differ, below a table of the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from trainer.runs.setting_comparison import ComparedPair, Runs, count_missing_scores, get_test_scores
from trainer.stats.confidence_interval import MIN_SEEDS
from trainer.stats.paired_comparison import Conclusion, Verdict
from trainer.utils.text import format_count, join_names

MAX_NAMES = 4
"""Most settings that a sentence names."""
PHRASES: Mapping[Verdict, str] = {
    Verdict.BETTER: "better than",
    Verdict.WORSE: "worse than",
    Verdict.MORE_SEEDS: "not decided against",
    Verdict.MISSING_SCORES: "not decided, as seeds have no score, against",
    Verdict.NO_DIFFERENCE: "no difference shown to",
}
"""What the first of two settings is."""


def describe_second(conclusion: Conclusion) -> str:
    """Return the verdict on the second setting of a pair in a few words."""
    if conclusion.more_seeds is not None:
        return f"needs about {format_count(conclusion.more_seeds, 'more seed')}"
    reversed_verdicts = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}
    return reversed_verdicts.get(conclusion.verdict, conclusion.verdict).value


def describe_pairs(pairs: Sequence[ComparedPair], labels: Sequence[str], settings: Sequence[Runs]) -> list[str]:
    """Return sentences about the first setting against each other one.

    Args:
        pairs: Comparisons of the first setting with each other one.
        labels: Labels of the settings.
        settings: Runs of each setting.
    """
    most = max(len(get_test_scores(runs)) for runs in settings)
    if most < MIN_SEEDS:
        noun = "one run" if most == 1 else f"{most} seeds"
        return [f"{noun} per setting cannot show a difference: train at least {MIN_SEEDS + 1}, as seed=0,1,2,3,4"]
    lines = []
    for verdict, phrase in PHRASES.items():
        names = [
            _name_setting(pair, labels)
            for pair in pairs
            if pair.conclusion is not None and pair.conclusion.verdict is verdict
        ]
        if names:
            lines.append(f"{phrase} {join_names(names, MAX_NAMES)}")
    if lines:
        lines[0] = f"{labels[0]}: {lines[0]}"
    return lines


def describe_missing_scores(labels: Sequence[str], settings: Sequence[Runs]) -> list[str]:
    """Return a sentence about each setting of which seeds failed or have no finite test score.

    Args:
        labels: Labels of the settings.
        settings: Runs of each setting.
    """
    counts = [count_missing_scores(runs) for runs in settings]
    return [
        f"{label or 'the setting'}: {format_count(count, 'seed')} without a score"
        for label, count in zip(labels, counts, strict=True)
        if count
    ]


def _name_setting(pair: ComparedPair, labels: Sequence[str]) -> str:
    """Return the label of the second setting, with the number of seeds that are needed."""
    assert pair.conclusion is not None
    more = pair.conclusion.more_seeds
    return labels[pair.second] if more is None else f"{labels[pair.second]} (about {more} more seeds)"
