"""A classifier is of the rows it is fed: of the same files, or at least of rows that are encoded alike."""

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
from trainer.engine import factory
from trainer.runs import consistency, evaluate, fid_feature_network, run_dir, saved_run, train
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError

pytestmark = [pytest.mark.usefixtures("in_tmp"), pytest.mark.slow]
CSV = ("data=csv", "data.path=a.csv", "data.target=y", "threads=1", "draw=false")
FLOW = ("model=real_nvp", *CSV, "task.samples=40", "max_steps=5", "val_every=5", "patience=null", "monitor=null")
MLP = ("model=mlp", *CSV, "model.hidden=[7]", "max_steps=20", "patience=null")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    tables = ("model=mlp", "model.hidden=[7]", "data=wine", "batch_size=64", "max_steps=30")
    monkeypatch.setattr(fid_feature_network, "TABLE_OVERRIDES", tables)
    yield
    plugins.declare_plugins([])


def write(seed: int, *, names: str = "no yes", more: int = 0) -> None:
    """A table of its own scale, in which a column says the split; with ``more`` test rows."""
    draw = random.Random(seed)
    lines = ["a,b,part,y"]
    for row in range(120 + more):
        a, b = draw.gauss(seed, 1 + seed), draw.gauss(-seed, 1)
        part = "test" if row >= 120 else ("train", "train", "val", "test")[row % 4]
        lines.append(f"{a:.4f},{b:.4f},{part},{names.split()[a + b > 0]}")
    Path("a.csv").write_text("\n".join(lines) + "\n")


def trained(*words: str) -> Result:
    return train.run(compose.compose(words))


def evaluated(result: Result, *words: str) -> dict[str, float]:
    return evaluate.evaluate_run(saved_run.load_from_args("evaluate", [result.folder, *words])[0])


def kept() -> dict[str, int]:
    """When each classifier was written last, by its folder."""
    every = Path("outputs/classifiers").glob("*/best.pt")
    return {path.parent.name: path.stat().st_mtime_ns for path in every}


def data_of(path: Path | str) -> Mapping[str, Any]:
    return consistency.load_best(Path(path))["data"]


def test_a_run_is_scored_again_by_its_own_classifier_whatever_else_lay_under_its_path() -> None:
    write(1)
    first = trained(*FLOW)
    (name,) = before = kept()
    assert evaluated(first) == first.test
    assert kept() == before
    write(2)
    second = trained(*FLOW)
    assert len(kept()) == 2
    assert evaluated(second) == second.test
    write(1)
    assert evaluated(first) == first.test
    assert len(kept()) == 2
    assert kept()[name] == before[name]


def test_on_changed_data_the_one_that_is_kept_is_used() -> None:
    write(1)
    result = trained(*FLOW)
    before = kept()
    write(1, more=20)
    assert "frechet" in evaluated(result, "allow_changed_data=true")
    assert kept() == before


def test_one_of_changed_data_has_a_name_of_its_own_and_the_encodings_of_the_run() -> None:
    write(1)
    result = trained(*FLOW)
    ((name, _),) = kept().items()
    shutil.rmtree("outputs/classifiers")
    write(2)
    with open("a.csv", "a") as file:  # rows of before, so that every split has some
        file.writelines(f"{line}\n" for line in rows_of_seed(1))
    changed = evaluated(result, "allow_changed_data=true")
    (other,) = kept()
    assert other != name
    stored_data, own = data_of(f"outputs/classifiers/{other}"), data_of(result.folder)
    assert equal(stored_data["fitted"]["schema"], own["fitted"]["schema"])
    assert stored_data["fingerprint"]["digest"] != own["fingerprint"]["digest"]
    assert evaluated(result, "allow_changed_data=true") == changed
    assert list(kept()) == [other]
    write(1)
    assert evaluated(result) == result.test
    assert set(kept()) == {name, other}


def rows_of_seed(seed: int) -> list[str]:
    now = Path("a.csv").read_text()
    write(seed)
    rows = Path("a.csv").read_text().splitlines()[1:]
    Path("a.csv").write_text(now)
    return rows


def test_one_under_the_usual_name_with_other_encodings_is_left_alone() -> None:
    write(1)
    result = trained(*FLOW)
    (name,) = kept()
    write(2)
    trained(*FLOW)
    (other,) = kept().keys() - {name}
    shutil.rmtree(Path("outputs/classifiers", name))
    Path("outputs/classifiers", other).rename(Path("outputs/classifiers", name))
    write(1)
    assert evaluated(result) == result.test
    assert len(kept()) == 2


def test_a_run_on_other_files_that_are_encoded_alike_is_taken_and_found_from_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write(1)
    told = trained(*MLP, "data.split_column=part", "hydra.run.dir=outputs/told")
    write(1, more=20)
    result = trained(*FLOW, "data.split_column=part", f"task.classifier={told.folder}")
    assert result.data_digest != told.data_digest
    assert "frechet" in result.test
    where = Path(result.folder).absolute()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert evaluate.evaluate_run(saved_run.load(where)) == result.test


def test_its_classifier_is_found_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    write(1)
    result = trained(*FLOW)
    where = Path(result.folder).absolute()
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert evaluate.evaluate_run(saved_run.load(where)) == result.test
    assert kept() == {}


@pytest.mark.parametrize(
    ("seed", "names", "said"),
    [
        (2, "no yes", "rows are encoded in another way: schema.columns differ"),
        (1, "no zebra", "its classes are no, yes; those of this data are no, zebra"),
    ],
)
def test_a_run_on_rows_that_are_encoded_otherwise_is_refused(seed: int, names: str, said: str) -> None:
    write(1)
    told = trained(*MLP, "data.split_column=part")
    write(seed, names=names)
    with pytest.raises(ConfigError, match=f"task.classifier: .* was trained on other data: {said}"):
        trained(*FLOW, "data.split_column=part", f"task.classifier={told.folder}")


@pytest.mark.parametrize(("name", "is_taken"), [("digits", True), ("wine", False)])
def test_of_a_set_that_stores_nothing_the_split_may_be_another_where_its_scale_is_known(
    name: str, *, is_taken: bool
) -> None:
    told = trained("model=mlp", f"data={name}", "augment=none", "max_steps=5", "threads=1", "draw=false")
    asked = compose.compose(["model=vae", f"data={name}", f"task.classifier={told.folder}", "data.seed=1"])
    data = factory.make_dataset(asked.tree)
    if is_taken:
        fid_feature_network.attach_feature_extractor(asked, data, train.train_nested_run)
        assert data.info.classifier is not None
    else:
        with pytest.raises(ConfigError, match=r"encoded in another way: data\.seed differ"):
            fid_feature_network.attach_feature_extractor(asked, data, train.train_nested_run)


def test_a_user_classification_task_is_accepted() -> None:
    Path("own_task.py").write_text(
        'from trainer.tasks.classification import Classification\n\n\nclass Own(Classification):\n    """Mine."""\n'
    )
    write(1)
    own = ("plugins=[own_task]", "data.split_column=part")
    told = trained(*MLP, *own, "task._target_=own_task.Own")
    asked = compose.compose([*FLOW, *own, f"task.classifier={told.folder}"])
    data = factory.make_dataset(asked.tree)
    fid_feature_network.attach_feature_extractor(asked, data, train.train_nested_run)
    assert data.info.classifier is not None
    features, classes = data.info.classifier(data.test.batch(torch.arange(10), 0).inputs["x"])
    assert (features.shape, classes.shape) == ((10, 7), (10,))
    assert run_dir.read_results(Path(told.folder))["status"] == "finished"
