"""Every data set in ``conf/data``, found by themselves."""

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
from trainer.core.dataset import Dataset, Split, TensorSplit
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


def splits(data: Dataset) -> dict[str, Split]:
    return {"train": data.train, "val": data.val, "test": data.test}


def tensors(data: Dataset) -> list[Tensor]:
    found = []
    for split in splits(data).values():
        batch = split.to_model_inputs(split.batch(torch.arange(min(50, len(split))), 0))
        found += [*batch.inputs.values(), *([] if batch.target is None else [batch.target])]
    return found


def again(name: str, **changes: object) -> Dataset:
    keys = read_node(DATA[name]) | small_keys(name) | changes
    if "target_kind" in keys:
        task = TASKS[DATA[name].task_name or "classification"].class_path
        keys["task_target"] = compatibility.infer_target_kind(str(task))
    return factory.instantiate_node(keys, Dataset)  # type: ignore[type-abstract]


def test_no_split_is_empty_and_batches_are_as_the_contract_says(name: str) -> None:
    found = introspection.read_signature(str(DATA[name].class_path))
    assert found
    said = shapes.parse_shapes(found.shapes)
    assert said
    for split in splits(build_dataset(name)).values():
        assert len(split) > 0
        rows = min(3, len(split))
        batch = split.to_model_inputs(split.batch(torch.arange(rows), 0))
        assert set(batch.inputs) >= set(said.inputs)
        for key, dims in said.inputs.items():
            if "..." not in dims:
                assert batch.inputs[key].dim() == len(dims), key
            if dims[0] == "B":
                assert len(batch.inputs[key]) == rows
        if said.output is None:
            assert batch.target is None
        else:
            assert batch.target is not None
            if "..." not in said.output:
                assert batch.target.dim() == len(said.output)
        for value in batch.inputs.values():
            assert not value.is_floating_point() or value.isfinite().all()


@pytest.mark.slow
def test_splits_share_no_row(name: str) -> None:
    data = build_dataset(name)
    kinds = [type(split) for split in splits(data).values()]
    if kinds != [TensorSplit] * 3:
        return  # one graph, or windows on one series: their own tests look at what is shared
    seen: dict[bytes, str] = {}
    for which, split in splits(data).items():
        assert isinstance(split, TensorSplit)
        rows = torch.arange(len(split))
        parts = [value[rows].reshape(len(split), -1).double() for value in split.inputs.values()]
        for row in torch.cat(parts, 1):
            before = seen.setdefault(row.numpy().tobytes(), which)
            assert before == which or name in REPEATS, f"a row of {before} is in {which} too"


def test_sizes_fill_a_model(name: str) -> None:
    sizes = {*build_dataset(name).info.sizes, "input_shapes"}  # what every data set can be asked for
    filled = []
    for model, data in FITTING:
        if data == name and not lacks_classes(model, name):
            own = OWN_MODELS.get(model, {})
            wanted = {key for key, value in read_node(MODELS[model]).items() if value == "???" and key not in own}
            filled.append(wanted <= sizes)
    assert filled, "no model fits"
    assert all(filled), "a model that fits by its contract has a size this data set does not publish"


def test_the_baseline_has_the_score_that_chooses(name: str) -> None:
    import yaml

    tree = yaml.safe_load(DATA[name].path.read_text(encoding="utf-8"))
    option = TASKS[DATA[name].task_name or "classification"]
    facts = build_dataset(name).info
    monitor = tree.get("monitor") or (read_node(option).get("scores") or [None])[0]
    if monitor is None:
        import importlib

        module, _, cls = str(option.class_path).rpartition(".")
        monitor = getattr(importlib.import_module(module), cls).monitor
    assert monitor in facts.baseline, f"{sorted(facts.baseline)}"
    for found in (facts.baseline, facts.best_possible):
        assert [key for key in found if find_builtin_metric(key) is None] == []
        assert [key for key, value in found.items() if value != value] == []
    for key, best in facts.best_possible.items():
        if key in facts.baseline:
            metric = find_builtin_metric(key)
            assert metric is not None
            assert not is_better(facts.baseline[key], best, metric), f"the baseline's {key} beats what nothing can beat"


@pytest.mark.slow
def test_the_same_seed_is_bit_exact(name: str) -> None:
    if "data_dir" in read_node(DATA[name]):
        pytest.skip("real data has no seed but that of its split")
    torch.manual_seed(1)
    first = tensors(again(name))
    torch.manual_seed(2)
    assert all(torch.equal(a, b) for a, b in zip(first, tensors(again(name)), strict=True))
    if "seed" in read_node(DATA[name]):
        other = tensors(again(name, seed=5))
        assert any(a.shape != b.shape or not torch.equal(a, b) for a, b in zip(first, other, strict=True))
