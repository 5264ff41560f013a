"""Checkpoints of version 4, whose keys have other names, load, resume and evaluate as before.

The runs of ``train_checkpoint_4`` were made before the renaming: stopped by SIGTERM between two validations, with the
metrics and scores of the same run without the stop, and the test scores of the weights that were the best at the stop.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.marks import mark_slow_after
from tests.helpers.stored_runs import assert_equal, copy_runs, read_metrics
from trainer.config import compose
from trainer.core.preprocessing import FORMER_NAMES
from trainer.data.encoding import tokenizers
from trainer.engine import checkpoint, dataset_loading, renamed_keys
from trainer.inference import evaluate, sample
from trainer.runs import consistency, saved_run, train
from trainer.utils import digests
from trainer.utils.errors import ConfigError

SAVED = Path(__file__).with_name("train_checkpoint_4")
RUNS = sorted(path.name for path in SAVED.iterdir() if path.is_dir())
FILES = (checkpoint.BEST, checkpoint.LAST)
FORMER_KEYS = {"players", "rate", "average", "finer", "waited", "running", "about", "facts", "asked", "end"}


@pytest.fixture(autouse=True)
def _copy_of_the_saved_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_runs(SAVED, tmp_path, monkeypatch)


def read_expected(name: str) -> dict[str, Any]:
    return json.loads(Path(name, "expected_scores.json").read_text())


@pytest.mark.parametrize("name", mark_slow_after(2, RUNS))
def test_resumed_run_equals_uninterrupted_run(name: str) -> None:
    train.resume_run(saved_run.load(Path(name)))
    found, expected = (read_metrics(Path(name, file)) for file in ("metrics.csv", "expected_metrics.csv"))
    assert len(found) == len(expected)
    for row, expected_row in zip(found, expected, strict=True):
        assert_equal(row, expected_row)
    results, scores = json.loads(Path(name, "results.json").read_text()), read_expected(name)
    for split in ("val", "test"):
        assert_equal(results[split], scores[split])
    assert_equal(evaluate.evaluate_run(saved_run.load(Path(name))), scores["test"])
    state = checkpoint.load_checkpoint(Path(name, checkpoint.LAST))
    assert state["format_version"] == checkpoint.FORMAT_VERSION


@pytest.mark.parametrize("name", RUNS)
def test_best_weights_of_stopped_run_have_their_scores(name: str) -> None:
    assert_equal(evaluate.evaluate_run(saved_run.load(Path(name))), read_expected(name)["stopped"])


def test_samples_are_decoded_by_the_saved_tokenizers() -> None:
    Path("source.txt").unlink()  # the first rows of each split are in the checkpoint
    text = "".join(sample.sample_run(saved_run.load(Path("pairs_seq2seq")), {}))
    assert text == read_expected("pairs_seq2seq")["sample"]


@pytest.mark.parametrize("name", mark_slow_after(1, RUNS))
def test_resume_auto_finds_the_run(name: str) -> None:
    shutil.move(name, f"outputs/{name}")
    overrides = [word for word in saved_run.load(Path("outputs", name)).overrides if not word.startswith("hydra.")]
    result = train.run(compose.compose([*overrides, "resume=auto", "hydra.run.dir=outputs/other"]))
    assert (result.run_dir, result.status) == (f"outputs/{name}", "finished")


def iter_keys(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        yield from node
        for value in node.values():
            yield from iter_keys(value)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("name", RUNS)
def test_migration_renames_all_keys_and_no_digest_is_lost(name: str, file: str) -> None:
    path = Path(name, file)
    raw = checkpoint.load_checkpoint(path)
    assert raw["format_version"] == 4
    assert FORMER_KEYS & {*iter_keys(raw)} >= {"finer", "about", "facts", "asked", "end"}
    state = checkpoint.migrate_state(checkpoint.load_checkpoint(path), path)
    assert not FORMER_KEYS & {*iter_keys(state)}
    saved_digests = state["run_metadata"]["data"]
    assert len(saved_digests) == len(raw["about"]["data"])
    assert digests.digest_parts(state["data"]) == saved_digests
    unchanged = {key: digest for key, digest in raw["about"]["data"].items() if not key.startswith("excerpts.")}
    assert {*unchanged.values()} <= {*saved_digests.values()}


@pytest.mark.parametrize("name", RUNS)
def test_data_loaded_today_has_the_migrated_digests(name: str) -> None:
    best = consistency.load_best(Path(name))
    config = dataset_loading.add_fingerprint(saved_run.load(Path(name)))
    state = dataset_loading.get_dataset_state(config, dataset_loading.load_dataset(config))
    current = digests.digest_parts(state)
    saved = {
        key: digest
        for key, digest in best["run_metadata"]["data"].items()
        if key.removeprefix("fitted.") not in FORMER_NAMES.values()
    }
    assert {key: current[key] for key in saved} == saved


def edit(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    state = torch.load(file, weights_only=True)
    change(state)
    torch.save(state, file)


CHANGES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "param_groups is missing": ("last.pt", lambda state: state.pop("players")),
    "param_groups.model.ema is missing": ("last.pt", lambda state: state["players"]["model"].pop("average")),
    "param_groups.model.other: unknown key": (
        "last.pt",
        lambda state: state["players"]["model"].update(other=1),
    ),
    "param_groups.model.schedule.num_bad_validations is -1": (
        "last.pt",
        lambda state: state["players"]["model"]["schedule"].update(waited=-1),
    ),
    "it contains lr, which its format_version does not have": (
        "last.pt",
        lambda state: state["players"]["model"].update(lr=0.1),
    ),
    "it contains tiebreak_score, which its format_version does not have": (
        "best.pt",
        lambda state: state.update(tiebreak_score=0.1),
    ),
    "the description of its run (run_metadata) is missing": ("best.pt", lambda state: state.update(about=None)),
    "run_metadata.data is missing": ("best.pt", lambda state: state["about"].pop("data")),
    "data.dataset_info.class_names is not what the run saved": (
        "best.pt",
        lambda state: state["data"]["facts"].update(class_names=["low", "high"]),
    ),
    "data.excerpts.test is not what the run saved": (
        "best.pt",
        lambda state: state["data"]["excerpts"]["test"]["target"].add_(1),
    ),
    "data.excerpts.val is missing": ("best.pt", lambda state: state["data"]["excerpts"].pop("val")),
}


@pytest.mark.parametrize("problem", CHANGES)
def test_edited_file_is_refused_by_current_names(problem: str) -> None:
    file, change = CHANGES[problem]
    edit(Path("csv_mlp", file), change)
    with pytest.raises(ConfigError) as refused:
        train.resume_run(saved_run.load(Path("csv_mlp")))
    assert f"{file}: {problem}" in str(refused.value)


def test_former_keys_are_unknown_in_the_current_version() -> None:
    path = Path("csv_mlp", checkpoint.BEST)
    state = checkpoint.migrate_state(checkpoint.load_checkpoint(path), path)
    checkpoint.save_checkpoint(state, path)
    evaluate.evaluate_run(saved_run.load(Path("csv_mlp")))
    edit(path, lambda state: state.update(finer=state.pop("tiebreak_score")))
    with pytest.raises(ConfigError, match=r"best\.pt: finer: unknown key"):
        evaluate.evaluate_run(saved_run.load(Path("csv_mlp")))


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("torch.optim.lr_scheduler.StepLR", {"lr": 0.1, "last_epoch": 3}),
        ("mine.Warmup", {"lr": 0.1}),  # its steps are repeated
    ],
)
def test_state_of_torch_schedule(target: str, expected: dict[str, float]) -> None:
    common = {"position": 3, "is_max": 0, "momentum": 0.9}
    schedule = {**common, "rate": 0.1, "last_epoch": 3}
    state = {
        "about": {"config": {"scheduler": {"_target_": target}}},
        "players": {"model": {"schedule": schedule}},
    }
    renamed = renamed_keys.rename_keys(state, Path(checkpoint.LAST))
    assert renamed["param_groups"]["model"]["schedule"] == common | expected


def test_state_of_schedule_of_plugin_is_not_changed() -> None:
    schedule = {"rate": 0.1, "waited": 2}
    state = {"players": {"model": {"schedule": dict(schedule)}}}
    renamed = renamed_keys.rename_keys(state, Path(checkpoint.LAST))
    assert renamed["param_groups"]["model"]["schedule"] == schedule


def test_former_state_of_lowercase_tokenizer() -> None:
    state = checkpoint.load_checkpoint(Path("pairs_seq2seq", checkpoint.BEST))["data"]["fitted"]["codec"]
    assert state.keys() == {"kind", "codec"}
    tokenizer = tokenizers.tokenizer_from_state(state)
    assert tokenizer.decode(tokenizer.encode("The DOG sees")) == "the dog sees"
    again = tokenizers.tokenizer_from_state(tokenizer.state_dict())
    assert again.state_dict() == tokenizer.state_dict() == {"kind": "lowercased", "tokenizer": state["codec"]}
