"""Train a model of one's own on a data set of one's own, both defined in this file.

python examples/own_model.py
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import trainer
from trainer import Dataset, DatasetInfo, NonNegativeInt, PositiveInt, baselines, rng, split_by_order


class Polynomial(nn.Module):
    """A linear model of the powers of each feature."""

    shapes = "x (B, F) -> (B, K)"

    def __init__(self, in_features: PositiveInt, out_features: PositiveInt, degree: PositiveInt):
        super().__init__()
        self.degree = degree
        self.head = nn.Linear(in_features * degree, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.cat([x**power for power in range(1, self.degree + 1)], dim=1))


class Cubic(Dataset):
    """y = x^3 - x with a little noise."""

    shapes = "x (B, F) -> (B, K)"

    def __init__(self, rows: PositiveInt, noise: float, seed: NonNegativeInt):
        random = rng.make_generator(seed)
        x = torch.rand(rows, 1, generator=random) * 3 - 1.5
        y = x**3 - x + noise * torch.randn(rows, 1, generator=random)
        self.train, self.val, self.test = split_by_order({"x": x}, y)
        self.info = DatasetInfo(
            sizes={"in_features": 1, "flat_features": 1, "out_features": 1},
            baseline=baselines.mean_prediction(self.train, self.test),
            best_possible={"mse": noise**2},
        )


CONFIG = {
    "model/polynomial.yaml": """\
# A linear model of powers.
_target_: own_model.Polynomial
in_features: ??? # from the data
out_features: ??? # from the data
degree: 3 # highest power
""",
    "data/cubic.yaml": """\
# @package _global_
# A cubic function with noise.
defaults:
  - override /task@_global_.task: regression

data:
  _target_: own_model.Cubic
  rows: 1000 # in all three splits
  noise: 0.1 # standard deviation
  seed: 0 # of the data
""",
}
"""In a project these are two files, named with ``--config-dir``."""


def main(folder: Path) -> dict[str, dict[str, float]]:
    """Test scores by degree."""
    for name, text in CONFIG.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    own = ["plugins=[own_model]", "model=polynomial", "data=cubic", "optimizer.lr=3e-2", "epochs=40"]
    scores = {}
    for degree in (1, 3):
        result = trainer.run(trainer.compose([*own, f"model.degree={degree}"], folder))
        scores[f"degree {degree}"] = result.test
    print({name: round(found["mse"], 4) for name, found in scores.items()})
    return scores


if __name__ == "__main__":
    main(Path("own_conf"))
