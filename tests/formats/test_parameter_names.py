"""Checkpoints of version 3, with former names of parameters, are loaded, resumed and evaluated.

The runs of ``train_checkpoint_3`` were made before the renaming: stopped by SIGTERM in the second epoch, with the
metrics and scores of the same run without the stop.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.helpers.marks import mark_slow_after
from tests.helpers.pairs import first_dataset, make_pair
from tests.helpers.stored_runs import assert_equal, copy_runs, read_metrics
from trainer.config import compose, renamed_parameters
from trainer.config.introspection import read_signature
from trainer.config.renamed_parameters import find_former_names
from trainer.engine import checkpoint, dataset_loading, factory, renamed_state, weight_transfer
from trainer.engine.update_ratio import PREFIX
from trainer.inference import evaluate
from trainer.models.layers.attention.attention import FullAttention, MultiHeadAttention
from trainer.runs import initial_weights, saved_run, train

SAVED = Path(__file__).with_name("train_checkpoint_3")
RUNS = sorted(path.name for path in SAVED.iterdir() if path.is_dir())
NAMES = json.loads(Path(__file__).with_name("parameter_names_3.json").read_text())
"""Former names in the state_dict of each model with renamed parameters."""


@pytest.fixture
def _copied_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_runs(SAVED, tmp_path, monkeypatch)


@pytest.mark.usefixtures("_copied_runs")
@pytest.mark.parametrize("name", mark_slow_after(2, RUNS))
def test_a_resumed_run_matches_an_uninterrupted_one(name: str) -> None:
    train.resume_run(saved_run.load(Path(name)))
    found, expected = (read_metrics(Path(name, file)) for file in ("metrics.csv", "expected_metrics.csv"))
    assert len(found) == len(expected)
    for row, reference in zip(found, expected, strict=True):
        # A run that was stopped before its first validation gets the columns of this version.
        assert_equal({key: row[key] for key in row if key in reference or not key.startswith(PREFIX)}, reference)
    results, scores = (json.loads(Path(name, file).read_text()) for file in ("results.json", "expected_scores.json"))
    for split in ("val", "test"):
        assert_equal(results[split], scores[split])
    state = checkpoint.load_checkpoint(Path(name, "last.pt"))
    assert state["format_version"] == checkpoint.FORMAT_VERSION
    assert_equal(evaluate.evaluate_run(saved_run.load(Path(name))), scores["test"])


@pytest.mark.usefixtures("_copied_runs")
@pytest.mark.parametrize("name", mark_slow_after(1, ["sbm_gat", "text_gpt"]))
def test_resume_auto_finds_a_run_by_the_current_keys(name: str) -> None:
    shutil.move(name, f"outputs/{name}")
    saved = saved_run.load(Path(f"outputs/{name}"))
    assert "data.labelled=20" not in saved.overrides
    overrides = [override for override in saved.overrides if not override.startswith("hydra.")]
    result = train.run(compose.compose([*overrides, "resume=auto", "hydra.run.dir=outputs/other"]))
    assert (result.run_dir, result.status) == (f"outputs/{name}", "finished")


@pytest.mark.parametrize("model", mark_slow_after(6, NAMES))
def test_former_names_map_to_the_current_parameters(model: str) -> None:
    net = make_pair(model, first_dataset(model)).task.model
    current = find_former_names(net, net.state_dict())
    assert [current.get(name, name) for name in NAMES[model]] == list(net.state_dict())


def test_renamed_classes_exist_and_their_names_are_distinct() -> None:
    for path, names in renamed_parameters._FORMER_NAMES.items():
        assert read_signature(f"trainer.models.{path}"), path
        assert not names.keys() & set(names.values()), path


class _Plugin(nn.Module):
    """A user's layer with an attribute that has a former name, and a layer of the package."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Linear(2, 2)
        self.project = MultiHeadAttention(4, 2, FullAttention())


def test_only_parameters_of_renamed_classes_are_renamed() -> None:
    layer = _Plugin()
    former = {
        "place.weight": "place.weight",
        "place.bias": "place.bias",
        "project.project.weight": "project.in_proj.weight",
        "project.project.bias": "project.in_proj.bias",
        "project.out.weight": "project.out_proj.weight",
        "project.out.bias": "project.out_proj.bias",
    }
    state = {"task": {name: torch.ones(1) for name in former}, "param_groups": {"model": {"ema": dict(former)}}}
    renamed = renamed_state.rename_parameters(state, layer)
    assert list(renamed["task"]) == list(former.values()) == list(layer.state_dict())
    assert renamed["param_groups"]["model"]["ema"] == {name: name for name in former.values()}
    assert renamed_state.rename_parameters(renamed, layer) == renamed


class _Subclass(MultiHeadAttention):
    """A subclass whose own ``out`` is not the former name of ``out_proj``."""

    def __init__(self) -> None:
        super().__init__(4, 2, FullAttention())
        self.out = nn.Linear(2, 2)


def test_current_name_is_not_taken_for_a_former_one() -> None:
    layer = _Subclass()
    assert find_former_names(layer, layer.state_dict()) == {
        "project.weight": "in_proj.weight",
        "project.bias": "in_proj.bias",
    }


@pytest.mark.usefixtures("_copied_runs")
@pytest.mark.parametrize("name", mark_slow_after(1, ["canvas_unet", "reverse_seq2seq", "text_gpt", "ring_vq_vae"]))
def test_weights_with_former_names_initialize_a_run(name: str) -> None:
    config = saved_run.load(Path(name))
    config = replace(config, settings=replace(config.settings, init_from=str(Path(name).resolve())))
    source = initial_weights.load_source(config)
    assert source is not None
    task = factory.make_task(config.tree, dataset_loading.load_dataset(config), config.names)
    transfer = weight_transfer.transfer_weights(task, source, {}, [])
    assert (transfer.mismatches, transfer.missing, transfer.unused) == ([], [], [])
    assert transfer.num_copied == (sum(parameter.numel() for parameter in task.parameters()),) * 2
