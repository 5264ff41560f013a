"""Feature networks are trained on the same files as the run, or on rows with the same encodings."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.states import equal
from trainer.config import compose, plugins
from trainer.engine import dataset_fingerprint, factory
from trainer.inference import evaluate
from trainer.runs import consistency, fid_feature_network, run_dir, run_overrides, saved_run, train
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError

pytestmark = [pytest.mark.usefixtures("in_tmp"), pytest.mark.slow]
CSV = ("data=csv", "data.path=a.csv", "data.target=y", "threads=1", "draw=false")
FLOW = ("model=real_nvp", *CSV, "task.samples=40", "max_steps=5", "val_every=5", "patience=null", "monitor=null")
MLP = ("model=mlp", *CSV, "model.hidden=[7]", "max_steps=20", "patience=null")


@pytest.fixture(autouse=True)
def fast_training(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tables = ("model=mlp", "model.hidden=[7]", "data=wine", "batch_size=64", "max_steps=30")
    monkeypatch.setattr(fid_feature_network, "TABLE_OVERRIDES", tables)
    yield
    plugins.declare_plugins([])


def write_table(seed: int, *, names: str = "no yes", extra_rows: int = 0) -> None:
    """Write a table with the scale of the seed, a column with the split, and extra test rows."""
    draw = random.Random(seed)
    lines = ["a,b,part,y"]
    for row in range(120 + extra_rows):
        a, b = draw.gauss(seed, 1 + seed), draw.gauss(-seed, 1)
        part = "test" if row >= 120 else ("train", "train", "val", "test")[row % 4]
        lines.append(f"{a:.4f},{b:.4f},{part},{names.split()[a + b > 0]}")
    Path("a.csv").write_text("\n".join(lines) + "\n")


def train_run(*overrides: str) -> Result:
    return train.run(compose.compose(overrides))


def evaluate_scores(result: Result, *overrides: str) -> dict[str, float]:
    return evaluate.evaluate_run(run_overrides.load_from_args("evaluate", [result.run_dir, *overrides])[0])


def network_mtimes() -> dict[str, int]:
    """Return the modification time of each stored network by directory name."""
    every = Path("outputs/classifiers").glob("*/best.pt")
    return {path.parent.name: path.stat().st_mtime_ns for path in every}


def load_data_state(path: Path | str) -> Mapping[str, Any]:
    return consistency.load_best(Path(path))["data"]


def test_evaluate_uses_the_network_of_the_run_after_file_changes() -> None:
    write_table(1)
    first = train_run(*FLOW)
    (name,) = before = network_mtimes()
    assert evaluate_scores(first) == first.test
    assert network_mtimes() == before
    write_table(2)
    second = train_run(*FLOW)
    assert len(network_mtimes()) == 2
    assert evaluate_scores(second) == second.test
    write_table(1)
    assert evaluate_scores(first) == first.test
    assert len(network_mtimes()) == 2
    assert network_mtimes()[name] == before[name]


def test_a_change_outside_of_the_sample_needs_another_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test row changes, but not the encoding: without the digest of every byte, both runs have the same network."""
    flow = (*FLOW, "data.split_column=part")
    monkeypatch.setattr(dataset_fingerprint, "MAX_WHOLE_FILE_BYTES", 1000)
    monkeypatch.setattr(dataset_fingerprint, "BLOCK_BYTES", 16)
    write_table(1)
    first = train_run(*flow)
    train_run(*flow, "fingerprint=sampled")
    (exact, sampled) = sorted(network_mtimes(), key=len, reverse=True)
    assert exact == f"{sampled}-{first.exact_data_digest}"
    lines = Path("a.csv").read_text().splitlines()
    lines[20] = lines[20].replace(lines[20][3], "8" if lines[20][3] == "7" else "7")
    Path("a.csv").write_text("\n".join(lines) + "\n")
    second = train_run(*flow)
    assert second.data_digest == first.data_digest
    assert network_mtimes().keys() == {exact, sampled, f"{sampled}-{second.exact_data_digest}"}
    train_run(*flow, "fingerprint=sampled")
    assert len(network_mtimes()) == 3
    for digest in (first.exact_data_digest, second.exact_data_digest):
        saved = load_data_state(f"outputs/classifiers/{sampled}-{digest}")
        assert saved["fingerprint"]["exact_digest"] == digest


def test_evaluate_on_changed_data_uses_the_stored_network() -> None:
    write_table(1)
    result = train_run(*FLOW)
    before = network_mtimes()
    write_table(1, extra_rows=20)
    assert "frechet" in evaluate_scores(result, "allow_changed_data=true")
    assert network_mtimes() == before


def test_network_of_changed_data_has_encodings_of_the_run() -> None:
    write_table(1)
    result = train_run(*FLOW)
    ((name, _),) = network_mtimes().items()
    shutil.rmtree("outputs/classifiers")
    write_table(2)
    with open("a.csv", "a") as file:  # rows of the first table, so that no split is empty
        file.writelines(f"{line}\n" for line in rows_of_seed(1))
    changed = evaluate_scores(result, "allow_changed_data=true")
    (other,) = network_mtimes()
    assert other != name
    stored_data, own = load_data_state(f"outputs/classifiers/{other}"), load_data_state(result.run_dir)
    assert equal(stored_data["fitted"]["schema"], own["fitted"]["schema"])
    assert stored_data["fingerprint"]["digest"] != own["fingerprint"]["digest"]
    assert evaluate_scores(result, "allow_changed_data=true") == changed
    assert list(network_mtimes()) == [other]
    write_table(1)
    assert evaluate_scores(result) == result.test
    assert set(network_mtimes()) == {name, other}


def rows_of_seed(seed: int) -> list[str]:
    """Return the rows that ``write_table`` writes for a seed; the file stays as it is."""
    current = Path("a.csv").read_text()
    write_table(seed)
    rows = Path("a.csv").read_text().splitlines()[1:]
    Path("a.csv").write_text(current)
    return rows


def test_stored_network_with_other_encodings_is_not_used() -> None:
    write_table(1)
    result = train_run(*FLOW)
    (name,) = network_mtimes()
    write_table(2)
    train_run(*FLOW)
    (other,) = network_mtimes().keys() - {name}
    shutil.rmtree(Path("outputs/classifiers", name))
    Path("outputs/classifiers", other).rename(Path("outputs/classifiers", name))
    write_table(1)
    assert evaluate_scores(result) == result.test
    assert len(network_mtimes()) == 2


def test_classifier_run_with_equal_encodings_is_accepted_from_any_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_table(1)
    classifier_run = train_run(*MLP, "data.split_column=part", "hydra.run.dir=outputs/classifier")
    write_table(1, extra_rows=20)
    result = train_run(*FLOW, "data.split_column=part", f"task.classifier={classifier_run.run_dir}")
    assert result.data_digest != classifier_run.data_digest
    assert "frechet" in result.test
    where = Path(result.run_dir).absolute()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert evaluate.evaluate_run(saved_run.load(where)) == result.test


def test_network_is_found_from_another_working_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    write_table(1)
    result = train_run(*FLOW)
    where = Path(result.run_dir).absolute()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert evaluate.evaluate_run(saved_run.load(where)) == result.test
    assert network_mtimes() == {}


@pytest.mark.parametrize(
    ("seed", "names", "message"),
    [
        (2, "no yes", "rows are encoded in another way: schema.columns differ"),
        (1, "no zebra", "its classes are no, yes; those of this data are no, zebra"),
    ],
)
def test_classifier_run_with_other_encodings_raises(seed: int, names: str, message: str) -> None:
    write_table(1)
    classifier_run = train_run(*MLP, "data.split_column=part")
    write_table(seed, names=names)
    with pytest.raises(ConfigError, match=f"task.classifier: .* was trained on other data: {message}"):
        train_run(*FLOW, "data.split_column=part", f"task.classifier={classifier_run.run_dir}")


@pytest.mark.parametrize(("name", "is_accepted"), [("digits", True), ("wine", False)])
def test_classifier_run_with_other_split_needs_a_known_scale(name: str, *, is_accepted: bool) -> None:
    classifier_run = train_run("model=mlp", f"data={name}", "augment=none", "max_steps=5", "threads=1", "draw=false")
    config = compose.compose(["model=vae", f"data={name}", f"task.classifier={classifier_run.run_dir}", "data.seed=1"])
    data = factory.make_dataset(config.tree)
    if is_accepted:
        fid_feature_network.attach_feature_extractor(config, data, train.train_nested_run)
        assert data.info.classifier is not None
    else:
        with pytest.raises(ConfigError, match=r"encoded in another way: feature_mean, feature_std differ"):
            fid_feature_network.attach_feature_extractor(config, data, train.train_nested_run)


def test_a_user_classification_task_is_accepted() -> None:
    Path("own_task.py").write_text(
        'from trainer.tasks.classification import Classification\n\n\nclass Own(Classification):\n    """Mine."""\n'
    )
    write_table(1)
    own = ("plugins=[own_task]", "data.split_column=part")
    classifier_run = train_run(*MLP, *own, "task._target_=own_task.Own")
    config = compose.compose([*FLOW, *own, f"task.classifier={classifier_run.run_dir}"])
    data = factory.make_dataset(config.tree)
    fid_feature_network.attach_feature_extractor(config, data, train.train_nested_run)
    assert data.info.classifier is not None
    features, classes = data.info.classifier(data.test.batch(torch.arange(10), 0).inputs["x"])
    assert (features.shape, classes.shape) == ((10, 7), (10,))
    assert run_dir.read_results(Path(classifier_run.run_dir))["status"] == "finished"
