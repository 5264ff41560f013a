"""Every model of the zoo memorizes one batch, as ``debug=overfit`` checks it.

    python -m tests.gates.overfit [MODEL ...]

Prints a line for each parameter group, and ends with an error if one is not learned.
"""

from __future__ import annotations

import sys
import time

import torch

from tests.helpers.overfit_cases import learn_batch
from tests.helpers.pairs import MODELS


def main() -> None:
    """Run all checks."""
    torch.set_num_threads(1)
    failures = []
    for model in sys.argv[1:] or MODELS:
        started_at = time.process_time()
        for result in learn_batch(model):
            verdict = "PASS" if result.is_learned else "FAIL"
            first, last = result.losses[0], result.losses[-1]
            print(
                f"{verdict} {model:<22} {result.group:<10} {first:10.4f} -> {last:10.4f}, target {result.target:.4f},"
                f" {len(result.losses) - 1} steps, {time.process_time() - started_at:.1f} s",
                flush=True,
            )
            failures += [] if result.is_learned else [model]
    print(f"{len(failures)} failed{': ' * bool(failures)}{', '.join(failures)}")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
