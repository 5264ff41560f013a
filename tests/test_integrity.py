"""The files of a run vouch for each other, and a run is used where and with what there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from own_runs import scores, trained

from trainer import seeding, stored
from trainer.errors import ConfigError
from trainer.result import Result

pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device that this machine has is taken")
def test_a_run_of_a_device_that_is_not_here_is_used_on_another(caplog: pytest.LogCaptureFixture) -> None:
    path = trained("csv")
    file = path / "config.yaml"
    file.write_text(file.read_text().replace("device: auto", "device: cuda:3"))
    assert scores(path) == Result.read(path).test
    assert "device=cuda:3: this torch" in caplog.text
    assert "going on with cpu" in caplog.text


def test_random_numbers_saved_on_one_kind_of_device_are_restored_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed", seeded.append)
    torch.manual_seed(7)
    seeding.restore(seeding.capture(torch.device("cpu")), torch.device("cuda"))
    assert seeded == [7]


@pytest.mark.parametrize(
    ("name", "before", "after", "said"),
    [
        ("config.yaml", "lr: 0.003", "lr: 0.03", r"config.yaml: optimizer.lr is 0.03; best.pt has 0.003"),
        ("config.yaml", "seed: 0", "seed: 1", r"config.yaml: .*seed is 1; best.pt has 0"),
        (
            "results.json",
            '"model": "mlp"',
            '"model": "gan"',
            r"results.json: options.model is 'gan'; best.pt has 'mlp'",
        ),
    ],
)
def test_what_was_edited_is_refused_by_file_and_key(name: str, before: str, after: str, said: str) -> None:
    file = trained("csv", "optimizer.lr=0.003") / name
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    with pytest.raises(ConfigError, match=said):
        scores(file.parent)


def test_a_lost_configuration_is_that_of_the_checkpoint() -> None:
    path = trained("csv")
    (path / "config.yaml").unlink()
    assert scores(path) == Result.read(path).test


def test_the_folder_of_data_sets_is_another_here(tmp_path: Path) -> None:
    """Also where a group repeats the flat key."""
    path = trained("csv")
    kept, _ = stored.named("evaluate", [str(path), f"data_dir={tmp_path}"])
    repeated = stored.changed(
        replace(kept, tree=kept.tree | {"data": {**kept.tree["data"], "data_dir": str(tmp_path)}}),
        ["data_dir=elsewhere"],
    )
    assert (kept.tree["data_dir"], repeated.tree["data"]["data_dir"]) == (str(tmp_path), "elsewhere")
