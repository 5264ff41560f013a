"""Rule on several runs: whether the gain over another setting is larger than the noise of the seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from trainer.analysis.diagnosis.finding import Evidence, Finding
from trainer.analysis.run_record import RunRecord
from trainer.runs.finished_runs import FinishedRun, read_run
from trainer.runs.run_groups import group_by_data, group_by_setting

MIN_SEEDS = 2
CONFIDENCE = 0.05
"""Probability of a gain as large as the measured one between equal settings, above which no difference is shown."""


def find_seed_noise(evidence: Evidence) -> Iterator[Finding]:
    """Find a gain over the best other setting of the same data that Welch's test attributes to the seeds."""
    own, others = _collect_scores(evidence)
    if len(own) < MIN_SEEDS or not others:
        return
    from scipy import stats

    rival = max(others, key=lambda scores: evidence.sign * statistics.mean(scores))
    gain = evidence.sign * (statistics.mean(own) - statistics.mean(rival))
    noise = math.sqrt((statistics.variance(own) + statistics.variance(rival)) / 2)
    p_value = float(stats.ttest_ind(own, rival, equal_var=False).pvalue) if noise > 0 else 0.0
    if gain <= 0 or p_value < CONFIDENCE:
        return
    # Seeds per setting for 80 % power at 5 %, of a normal approximation.
    needed = min(1000, math.ceil(2 * (2.8 * noise / gain) ** 2))
    yield Finding(
        "seed noise",
        f"the gain of {gain:.3g} in {evidence.monitor} over the next best setting is not larger than the noise of the"
        f" seeds: about {needed} seeds of each could decide it",
        {"gain": gain, "standard deviation over seeds": noise, "p": p_value, "seeds": len(own)},
        [f"-m seed={','.join(map(str, range(min(needed, 10))))}"],
    )


def _collect_scores(evidence: Evidence) -> tuple[list[float], list[list[float]]]:
    """Return the test scores of the seeds of a run's setting, and of other settings whose scores are comparable.

    Settings are those of the leaderboard.
    """
    records = [each for each in (evidence.record, *evidence.siblings) if _is_comparable(each, evidence)]
    if len(records) < 2 * MIN_SEEDS or records[0] is not evidence.record:
        return [], []
    runs = [read_run(each.path, each.results) for each in records]
    for _, settings in group_by_data(group_by_setting(runs)):
        scores = {group[0].setting_key: _get_scores(group, evidence.monitor) for group in settings}
        if runs[0].setting_key in scores:
            own = scores.pop(runs[0].setting_key)
            return own, [each for each in scores.values() if len(each) >= MIN_SEEDS]
    return [], []


def _is_comparable(record: RunRecord, evidence: Evidence) -> bool:
    """Return whether a run has a test score by the monitored metric."""
    has_same_keys = all(record.results.get(key) == evidence.record.results.get(key) for key in ("data", "monitor"))
    score = record.results.get("test", {}).get(record.monitor)
    is_finished = record.status == "finished" and not record.results.get("debug")
    return is_finished and has_same_keys and isinstance(score, int | float) and math.isfinite(score)


def _get_scores(runs: Sequence[FinishedRun], name: str) -> list[float]:
    return [float(run.results["test"][name]) for run in runs]
