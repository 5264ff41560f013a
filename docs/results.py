"""Draw the sheet of result pictures in the README from runs of a minute or two.

python docs/results.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import trainer

HERE = Path(__file__).parent
PANELS = {
    "confusion.png": ("classification", "model=resnet data=digits epochs=8"),
    "overlays.png": ("segmentation", "model=unet data=digit_canvas epochs=12"),
    "progress.png": ("diffusion", "model=diffusion data=swiss_roll val_every=100"),
    "forecasts.png": ("forecasting", "model=gru_forecaster data=sine_trend"),
    "predictions.png": ("regression", "model=mlp data=diabetes"),
    "curves.png": ("every run", "model=lstm data=synthetic_seq epochs=30"),
}
"""What a file of a run directory shows, and the command that makes it."""
LAYOUT = [
    ["confusion.png"] * 4 + ["overlays.png"] * 4 + ["progress.png"] * 4,
    ["forecasts.png"] * 6 + ["predictions.png"] * 6,
    ["forecasts.png"] * 6 + ["curves.png"] * 6,
]


def main() -> None:
    figure, axes = plt.subplot_mosaic(LAYOUT, figsize=(13, 11), height_ratios=[5.4, 2.8, 2.8], layout="constrained")
    with tempfile.TemporaryDirectory() as folder:
        for name, (kind, words) in PANELS.items():
            config = trainer.compose([*words.split(), "threads=1", f"hydra.run.dir={folder}/{name}"])
            axes[name].imshow(plt.imread(Path(trainer.run(config).run_dir) / name))
            axes[name].set_title(f"{kind}: {name}\n{words}", fontsize=10)
            axes[name].axis("off")
    figure.savefig(HERE / "results.png", dpi=100)


if __name__ == "__main__":
    main()
