"""``train score`` on files of the user after the data of the run has changed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.helpers.changed_files import CHANGED_DATA, append_rows, rename_classes
from tests.helpers.own_runs import train_run
from trainer.inference import score
from trainer.runs import saved_run
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.mark.slow
def test_image_scores_do_not_depend_on_changed_training_files() -> None:
    path = train_run("image_folder", "model=conv_vae", "task.classifier=null", "data.size=8")
    shutil.copytree(next(Path("files").iterdir()), "today")
    before = score.score_run(saved_run.load(path), "today").read_text()
    append_rows(Path("files"))
    rename_classes(Path("files"))
    assert score.score_run(saved_run.load(path), "today").read_text() == before
    with pytest.raises(ConfigError, match=CHANGED_DATA):
        score.score_run(saved_run.load(path), None)
