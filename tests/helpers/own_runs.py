"""Small runs on user files in the working folder."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.helpers.own_files import OWN_FILES, OWN_SETS
from trainer.config import compose
from trainer.inference import evaluate
from trainer.runs import run_overrides, train

MODELS = {
    "csv": "mlp",
    "csv_series": "dlinear",
    "text_file": "char_lstm",
    "text_folder": "bag_of_words",
    "idx": "mlp",
    "image_folder": "mlp",
    "image_masks": "unet",
    "edge_list": "gcn",
    "edge_list_graphs": "graph_net",
    "pairs": "seq2seq",
    "parcel_series": "brain",
    "click_file": "matrix_factorization",
    "triples": "distmult",
    "tu": "graph_net",
    "ucr": "rnn",
}
USER_FILES = OWN_FILES | OWN_SETS


def copy_files(name: str) -> dict[str, str]:
    """Copy the files of a data set into the working folder; return its keys with the new paths."""
    keys = {key: value() for key, value in USER_FILES.get(name, {}).items()}
    for key, value in keys.items():
        source = Path(value)
        if source.is_absolute():
            target = Path("files", source.name)
            target.parent.mkdir(exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
            keys[key] = str(target)
    return keys


def train_run(name: str, *more: str) -> Path:
    """Train a small run of a data set in the working folder."""
    paths = [f"data.{key}={value}" for key, value in copy_files(name).items()]
    model = next((override for override in more if override.startswith("model=")), f"model={MODELS.get(name)}")
    overrides = [model, f"data={name}", *paths, "max_steps=3", "val_every=50", "threads=1", "draw=false", *more]
    return Path(train.run(compose.compose(list(dict.fromkeys(overrides)))).run_dir)


def evaluate_scores(path: Path, *overrides: str) -> dict[str, float]:
    return evaluate.evaluate_run(run_overrides.load_from_args("evaluate", [str(path), *overrides])[0])
