"""Jobs of a plan, and which of them cost the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.analysis.plan_jobs import compose_jobs, estimate_makespan, make_cost_key
from trainer.config import compose
from trainer.utils.errors import ConfigError, UnknownNameError

SMALL = ("model=mlp", "data=moons", "data.rows=300", "epochs=2", "model.hidden=[4]")


@pytest.mark.parametrize("change", ["seed=3", "optimizer.lr=0.1", "model.dropout=0.3", "data.seed=4", "verbose=true"])
def test_numbers_that_cost_nothing(change: str) -> None:
    assert make_cost_key(compose.compose(SMALL).tree) == make_cost_key(compose.compose([*SMALL, change]).tree)


OPTIONS = ("batch_size=7", "data.rows=400", "optimizer=sgd", "model.activation=tanh", "epochs=9")
RUNTIME_KEYS = (
    *("device=cuda", "devices=2", "threads=2", "num_workers=1", "keep_last=2", "keep_best=2", "save_every=0"),
    *("draw=false", "deterministic=true", "data_dir=elsewhere", "debug=fast"),
)
"""Keys that are not part of the identity of a run, but of its cost."""


@pytest.mark.parametrize("change", [*OPTIONS, *RUNTIME_KEYS])
def test_options_with_a_cost(change: str) -> None:
    changed = [text for text in SMALL if text.partition("=")[0] != change.partition("=")[0]] + [change]
    assert make_cost_key(compose.compose(SMALL).tree) != make_cost_key(compose.compose(changed).tree)


def test_the_buffers_of_momentum_have_a_cost() -> None:
    keys = [
        make_cost_key(compose.compose([*SMALL, "optimizer=sgd", f"optimizer.momentum={m}"]).tree) for m in (0, 0.5, 0.9)
    ]
    assert keys[0] != keys[1] == keys[2]


def test_models_of_different_matched_sizes_are_not_grouped() -> None:
    jobs = compose_jobs([*SMALL, "match=params", "target=100,50k", "seed=0,1"], [], is_sweep=True)
    assert [group.count for group in jobs.groups] == [2, 2]


def test_jobs_are_grouped_by_cost() -> None:
    jobs = compose_jobs([*SMALL[:-1], "model.hidden=[4],[8]", "seed=0,1,2"], [], is_sweep=True)
    assert [(group.label, group.count) for group in jobs.groups] == [
        ("model.hidden=[4]", 3),
        ("model.hidden=[8]", 3),
    ]
    assert jobs.order == [0, 0, 0, 1, 1, 1]


def test_ranges_of_a_file_are_jobs(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep/mine.yaml").write_text("# own\nbatch_size: 8,16,32\n")
    jobs = compose_jobs([*SMALL, "sweep=mine"], [tmp_path], is_sweep=True)
    assert [group.label for group in jobs.groups] == ["batch_size=8", "batch_size=16", "batch_size=32"]


def test_incompatible_combinations_are_named() -> None:
    jobs = compose_jobs(["model=mlp,cnn", "data=moons"], [], is_sweep=True)
    assert jobs.order == [0]
    assert "model cnn needs x (B, C, H, W)" in jobs.refused[0]


def test_invalid_command_lines_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="modle"):
        compose_jobs(["modle=mlp"], [], is_sweep=False)
    with pytest.raises(ConfigError, match="data moons"):
        compose_jobs(["model=cnn,lenet", "data=moons"], [], is_sweep=True)


@pytest.mark.parametrize(("places", "seconds"), [(1, 10.0), (2, 6.0), (9, 4.0)])
def test_jobs_share_the_places(places: int, seconds: float) -> None:
    assert estimate_makespan([4.0, 1.0, 1.0, 4.0], places) == seconds
