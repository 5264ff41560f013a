"""Classification: check of the output width against the classes, baselines, score names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.commands import write
from tests.helpers.lab import lab
from trainer.utils.errors import ConfigError

NODES = ("data=karate", "epochs=1")


@pytest.mark.parametrize(
    ("options", "width", "classes", "allowed"),
    [
        (("model=mlp", "data=moons"), 5, "2 classes (0, 1)", "1 or 2"),
        (("model=mlp", "data=wine"), 1, "3 classes (class_0, class_1, class_2)", "3"),
        (("model=gat", *NODES), 5, "4 classes (0, 1, 2, 3)", "4"),
        (("model=gnn", *NODES), 10, "4 classes (0, 1, 2, 3)", "4"),
        (("model=cnn", "data=digits", "data.size=8"), 3, "10 classes (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)", "10"),
        (("model=lstm", "data=synthetic_seq"), 4, "2 classes (0, 1)", "1 or 2"),
    ],
)
def test_wrong_output_width_error_names_classes(
    options: tuple[str, ...], width: int, classes: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        lab(*options, f"model.out_features={width}")
    message = f"model.out_features: {width} given; the data has {classes}, so it must be {allowed},"
    assert str(caught.value).startswith(message)


@pytest.mark.slow
def test_num_classes_is_checked_against_data() -> None:
    with pytest.raises(ConfigError, match=r"^model.num_classes: 7 given; the data has \d+ classes"):
        lab("model=bilstm_tagger", "data=neighbor_sum", "data.rows=50", "model.num_classes=7")
    with pytest.raises(ConfigError, match=r"^task.num_classes: 4 given; the data has 3 classes$"):
        lab("model=mlp", "data=wine", "task.num_classes=4")
    for classes in (5, 12):
        with pytest.raises(ConfigError, match=rf"^model.num_classes: {classes} given; the (data|train split) has"):
            lab("model=cgan", "data=ring", "data.rows=80", f"model.num_classes={classes}")


def test_wrong_plugin_output_error_names_shapes() -> None:
    run = lab("model=mlp", "data=moons", "data.rows=100", "max_steps=1")

    class WideModel(torch.nn.Linear):
        def __init__(self, out_features: int):
            super().__init__(2, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x)

    run.task.model = WideModel(2)
    message = (
        r"^model: forward returned \(B, 10\); the data has 2 classes \(0, 1\), so it must return \(B, 1\) or \(B, 2\); "
    )
    with pytest.raises(ConfigError, match=message):
        run.test()


@pytest.mark.parametrize("width", [1, 2])
def test_two_classes_work_with_one_or_two_logits(width: int) -> None:
    run = lab("model=mlp", "data=moons", "data.rows=100", f"model.out_features={width}", "max_steps=1")
    assert 0 <= run.test()["accuracy"] <= 1


def test_most_frequent_baseline_f1_averages_over_ties(tmp_path: Path) -> None:
    """Two of three classes are equally frequent in training: each is predicted half the time, the third never."""
    counts = {"train": (4, 4, 2), "val": (1, 1, 1), "test": (1, 3, 4)}
    rows = (f"{i},{c},{part}" for part, sizes in counts.items() for c, size in enumerate(sizes) for i in range(size))
    table = write(tmp_path, {"t.csv": "\n".join(("a,kind,part", *rows))}) / "t.csv"
    overrides = ("model=mlp", "data=csv", f"data.path={table}", "data.target=kind", "data.split_column=part")
    run = lab(*overrides, "task.scores=[accuracy,nll,f1,f1_per_class]")
    baseline = run.task.reference_scores()[0]
    first, second = 2 * 1 / (1 + 8), 2 * 3 / (3 + 8)
    assert baseline["f1"] == pytest.approx((first + second) / 2 / 3)
    assert [baseline[f"f1_{c}"] for c in range(3)] == pytest.approx([first / 2, second / 2, 0])


def test_class_names_with_spaces_become_score_names(tmp_path: Path) -> None:
    rows = (f"{i},{name}" for i in range(10) for name in ("New York", "Rome"))
    table = write(tmp_path, {"t.csv": "\n".join(("a,town", *rows))}) / "t.csv"
    overrides = ("model=mlp", "data=csv", f"data.path={table}", "data.target=town", "max_steps=1")
    run = lab(*overrides, "task.scores=[accuracy,f1_per_class,mean_iou]", "monitor=iou_New_York")
    assert run.test().keys() > {"f1_New_York", "f1_Rome", "iou_New_York", "iou_Rome"}
    assert run.task.reference_scores()[0].keys() >= {"f1_New_York", "f1_Rome"}
