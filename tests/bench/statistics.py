"""False claims and power of the comparison of settings, over simulated seeds.

    python -m tests.bench.statistics [PAIRS]

For each kind of scores, 1000 pairs (or PAIRS) of equal settings, paired by seed and not: the share that is called
different must be at most 5 %, up to the noise of the simulation (0.6 at 1000 pairs). Normal scores of settings one
standard deviation apart: the share must be the power of the t test, computed from the noncentral t distribution of
scipy.stats. Sweeps over ten equal settings: the share in which any is called different from the first, with the
correction of Holm and, as a broken twin, without. Sweeps over equal settings whose best one by validation is compared
with each other one, for several correlations of validation and test scores: at most 5 % with a claim. Then the
coverage of the BCa interval of a mean, and equal settings over data sets by their ranks.
"""

from __future__ import annotations

import sys

import numpy as np
from scipy import stats

from tests.helpers.simulated_scores import KINDS, measure_claims, measure_selection_claims, measure_sweep_claims
from trainer.stats.confidence_interval import compute_mean_interval
from trainer.stats.paired_comparison import ALPHA
from trainer.stats.rank_comparison import compare_ranks

SEEDS = (3, 4, 5, 6, 8, 10, 20)
SWEEPS = 1000
SETTINGS = (2, 3, 5, 10, 20)


def compute_theory(seeds: int, *, paired: bool) -> float:
    """Return the power of the two-sided t test for settings one standard deviation apart, from scipy.stats."""
    degrees = seeds - 1 if paired else 2 * seeds - 2
    shift = np.sqrt(seeds / 2)  # differences of independent scores have the standard deviation sqrt(2)
    bound = stats.t.ppf(1 - ALPHA / 2, degrees)
    return float(stats.nct.sf(bound, degrees, shift) + stats.nct.cdf(-bound, degrees, shift))


def main(pairs: int) -> None:
    print(f"false claims in %, {pairs} pairs of equal settings; at most 5")
    print(f"{'':28}" + "".join(f"{seeds:>7}" for seeds in SEEDS) + "  seeds")
    for paired in (True, False):
        for kind, draw in KINDS.items():
            rates = [measure_claims(draw, seeds, pairs=pairs, paired=paired) for seeds in SEEDS]
            name = f"{kind}{'' if paired else ', unpaired'}"
            print(f"{name:38}"[:38] + "".join(f"{100 * rate:6.1f} " for rate in rates), flush=True)
    print("power in %, normal scores one standard deviation apart: simulated (theory)")
    for paired in (True, False):
        for seeds in SEEDS[1:]:
            power = measure_claims(KINDS["normal"], seeds, 1.0, pairs=pairs, paired=paired, seed=1)
            theory = compute_theory(seeds, paired=paired)
            print(f"{'paired' if paired else 'unpaired':9}{seeds:3} seeds {100 * power:5.1f} ({100 * theory:.1f})")
    for corrected in (True, False):
        rate = measure_sweep_claims(10, 5, sweeps=SWEEPS, corrected=corrected)
        print(
            f"sweeps over 10 equal settings, {'Holm' if corrected else 'uncorrected'}: {100 * rate:.1f} % with a claim"
        )
    show_selection_claims(SWEEPS)
    measure_coverage(pairs)
    measure_rank_claims()


def show_selection_claims(sweeps: int) -> None:
    print(f"sweeps with a claim about the best of K equal settings by validation in %, {sweeps} sweeps; at most 5")
    print(f"{'':28}" + "".join(f"{settings:>6}" for settings in SETTINGS) + "  settings")
    for seeds in (5, 8):
        for correlation in (0.0, 0.5, 0.7, 0.8, 0.95):
            rates = [measure_selection_claims(settings, seeds, correlation, sweeps=sweeps) for settings in SETTINGS]
            print(
                f"{seeds} seeds, correlation {correlation:<8.2f}" + "".join(f"{100 * r:6.1f}" for r in rates),
                flush=True,
            )


def measure_coverage(samples: int) -> None:
    rng = np.random.default_rng(0)
    for seeds in (5, 10, 20, 50):
        inside = 0
        for _ in range(samples):
            interval = compute_mean_interval(rng.normal(size=seeds).tolist(), resamples=500)
            assert interval is not None
            inside += interval[0] <= 0 <= interval[1]
        print(f"BCa interval of the mean of {seeds:2} normal scores: covers {100 * inside / samples:.1f} %")


def measure_rank_claims() -> None:
    rng = np.random.default_rng(0)
    for datasets, settings in ((3, 3), (5, 4), (10, 5)):
        claims = 0
        for _ in range(200):
            ranked = compare_ranks(rng.normal(size=(datasets, settings)), higher_is_better=True)
            claims += any(ranked.differ(i, j) for i in range(settings) for j in range(i))
        print(f"{settings} equal settings on {datasets} data sets: {claims / 2:.1f} % with a claim")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
