"""Every data set of ``conf/data``."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.own_files import OWN_MODELS
from tests.helpers.pairs import (
    DATA,
    FITTING,
    LARGE,
    MODELS,
    TASKS,
    build_dataset,
    lacks_classes,
    missing_reason,
    read_node,
    small_keys,
)
from trainer.config import compatibility, introspection
from trainer.core import shapes
from trainer.core.dataset import Dataset
from trainer.core.split import Split, TensorSplit
from trainer.engine import factory
from trainer.metrics.registry import find_builtin_metric, is_better

REPEATS: dict[str, str] = {
    "reverse": "short sequences of few tokens repeat by chance",
    "wine": "two growers may measure the same",
}
"""Data sets whose splits may hold equal rows, with the reason."""


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * (name in LARGE)) for name in DATA])
def name(request: pytest.FixtureRequest) -> str:
    if reason := missing_reason(request.param):
        pytest.skip(reason)
    return str(request.param)


def get_splits(data: Dataset) -> dict[str, Split]:
    return {"train": data.train, "val": data.val, "test": data.test}


def collect_tensors(data: Dataset) -> list[Tensor]:
    values = []
    for split in get_splits(data).values():
        batch = split.to_model_inputs(split.batch(torch.arange(min(50, len(split))), 0))
        values += [*batch.inputs.values(), *([] if batch.target is None else [batch.target])]
    return values


def rebuild(name: str, **changes: object) -> Dataset:
    keys = read_node(DATA[name]) | small_keys(name) | changes
    if "target_kind" in keys:
        task = TASKS[DATA[name].task_name or "classification"].class_path
        keys["task_target"] = compatibility.infer_target_kind(str(task))
    return factory.instantiate_node(keys, Dataset)  # type: ignore[type-abstract]


def test_splits_are_nonempty_and_match_declared_shapes(name: str) -> None:
    signature = introspection.read_signature(str(DATA[name].class_path))
    assert signature
    declared = shapes.parse_shapes(signature.shapes)
    assert declared
    for split in get_splits(build_dataset(name)).values():
        assert len(split) > 0
        rows = min(3, len(split))
        batch = split.to_model_inputs(split.batch(torch.arange(rows), 0))
        assert set(batch.inputs) >= set(declared.inputs)
        for key, dims in declared.inputs.items():
            if "..." not in dims:
                assert batch.inputs[key].dim() == len(dims), key
            if dims[0] == "B":
                assert len(batch.inputs[key]) == rows
        if declared.output is None:
            assert batch.target is None
        else:
            assert batch.target is not None
            if "..." not in declared.output:
                assert batch.target.dim() == len(declared.output)
        for value in batch.inputs.values():
            assert not value.is_floating_point() or value.isfinite().all()


@pytest.mark.slow
def test_splits_share_no_row(name: str) -> None:
    data = build_dataset(name)
    kinds = [type(split) for split in get_splits(data).values()]
    if kinds != [TensorSplit] * 3:
        pytest.skip("one graph, or windows of one series: tests of these data sets check overlap")
    split_by_row: dict[bytes, str] = {}
    for split_name, split in get_splits(data).items():
        assert isinstance(split, TensorSplit)
        rows = torch.arange(len(split))
        parts = [value[rows].reshape(len(split), -1).double() for value in split.inputs.values()]
        for row in torch.cat(parts, 1):
            first_split = split_by_row.setdefault(row.numpy().tobytes(), split_name)
            assert first_split == split_name or name in REPEATS, f"a row of {first_split} is in {split_name} too"


def test_sizes_fill_required_model_options(name: str) -> None:
    filled = []
    for model, data in FITTING:
        if data == name and not lacks_classes(model, name):
            node = read_node(MODELS[model]) | dict.fromkeys(OWN_MODELS.get(model, {}), "")
            filled.append("???" in factory.fill_missing_sizes("model", node, build_dataset(name), name).values())
    assert filled, "no model fits"
    assert not any(filled)


def test_baseline_reports_monitored_score(name: str) -> None:
    import yaml

    tree = yaml.safe_load(DATA[name].path.read_text(encoding="utf-8"))
    option = TASKS[DATA[name].task_name or "classification"]
    info = build_dataset(name).info
    monitor = tree.get("monitor") or (read_node(option).get("scores") or [None])[0]
    if monitor is None:
        import importlib

        module, _, cls = str(option.class_path).rpartition(".")
        monitor = getattr(importlib.import_module(module), cls).monitor
    assert monitor in info.baseline, f"{sorted(info.baseline)}"
    for reported in (info.baseline, info.best_possible):
        assert [key for key in reported if find_builtin_metric(key) is None] == []
        assert [key for key, value in reported.items() if value != value] == []
    for key, best in info.best_possible.items():
        if key in info.baseline:
            metric = find_builtin_metric(key)
            assert metric is not None
            assert not is_better(info.baseline[key], best, metric), (
                f"the baseline's {key} exceeds the best possible score"
            )


@pytest.mark.slow
def test_the_same_seed_is_bit_exact(name: str) -> None:
    if "data_dir" in read_node(DATA[name]):
        pytest.skip("real data has no seed except for its split")
    torch.manual_seed(1)
    first = collect_tensors(rebuild(name))
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, collect_tensors(rebuild(name)), strict=True))
    if "seed" in read_node(DATA[name]):
        other = collect_tensors(rebuild(name, seed=5))
        assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(first, other, strict=True))
