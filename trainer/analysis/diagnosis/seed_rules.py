"""Rule on several runs: whether the gain over another setting is larger than the noise of the seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence

from trainer.analysis.diagnosis.finding import Evidence, Finding
from trainer.analysis.run_record import RunRecord
from trainer.config.run_config import RUNTIME_ONLY_KEYS

MIN_SEEDS = 2
CONFIDENCE = 0.05
"""Probability of a gain as large as the measured one between equal settings, above which no difference is shown."""
REPLICATE_KEYS = ("seed", "data.fold", "augment.seed")


def find_seed_noise(evidence: Evidence) -> Iterator[Finding]:
    """Find a gain over the best other setting of the same data that Welch's test attributes to the seeds."""
    from scipy import stats

    groups: dict[str, list[RunRecord]] = {}
    for record in [evidence.record, *evidence.siblings]:
        if record.monitor == evidence.monitor and _get_score(record) is not None and _has_same_data(record, evidence):
            groups.setdefault(_get_setting(record), []).append(record)
    own = _get_scores(groups.pop(_get_setting(evidence.record), []))
    others = [scores for records in groups.values() if len(scores := _get_scores(records)) >= MIN_SEEDS]
    if len(own) < MIN_SEEDS or not others:
        return
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


def _get_score(record: RunRecord) -> float | None:
    score = record.results.get("test", {}).get(record.monitor)
    return score if isinstance(score, int | float) and math.isfinite(score) else None


def _get_scores(records: Sequence[RunRecord]) -> list[float]:
    """Return the score of each seed, of which a repeated run gives no further one."""
    scores = {str([record.config.get(key) for key in REPLICATE_KEYS]): _get_score(record) for record in records}
    return [score for score in scores.values() if score is not None]


def _get_setting(record: RunRecord) -> str:
    values = {
        key: value
        for key, value in record.config.items()
        if key.split(".")[0] not in RUNTIME_ONLY_KEYS and key not in REPLICATE_KEYS and not key.endswith("data_dir")
    }
    return repr(sorted(values.items()))


def _has_same_data(record: RunRecord, evidence: Evidence) -> bool:
    keys = ("data", "data_digest")
    return all(record.results.get(key) == evidence.record.results.get(key) for key in keys)
