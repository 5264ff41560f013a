"""Child processes do not import the files of the working directory instead of the standard library."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import trainer
from trainer.utils import child_python

PACKAGE = Path(trainer.__file__).parent


def test_the_working_directory_is_not_on_the_import_path(tmp_path: Path) -> None:
    (tmp_path / "secrets.py").write_text("raise SystemExit('the file of the user')")
    command = child_python.make_command("secrets")
    environment = os.environ | child_python.list_path_variables()
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_every_child_process_is_started_so() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if "sys.executable" in path.read_text(encoding="utf-8")]
    assert [path.name for path in files] == ["child_python.py"]
