"""The pages of docs/ and the API reference build strictly, without a warning and without the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_documentation_builds_strictly_without_external_resources(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings_handlers"):
        pytest.importorskip(package)
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    proxies = {f"{scheme}_proxy": "http://127.0.0.1:9" for scheme in ("http", "https")}
    environment = os.environ | proxies | {"NO_MKDOCS_2_WARNING": "1"}
    process = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "WARNING" not in process.stderr
    api = (tmp_path / "api/trainer.html").read_text(encoding="utf-8")
    assert 'id="trainer.core.task.Task.make_artifacts"' in api
    external_urls = re.findall(r'<(?:script|img|link)[^>]*(?:src|href)="(https?://[^"]*)"', api)
    assert external_urls == []
