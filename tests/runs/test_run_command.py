"""Commands on saved runs."""

from __future__ import annotations

from pathlib import Path

from trainer.runs.run_command import format_command, format_saved_command


def test_paths_are_quoted_and_plugins_named() -> None:
    assert format_command("resume", Path("outputs/a b"), []) == "train resume 'outputs/a b'"
    assert format_command("why", Path("run"), ["mine", "yours"]) == "train why run plugins=[mine,yours]"


def test_plugins_are_those_of_the_saved_configuration(tmp_path: Path) -> None:
    assert format_saved_command("resume", tmp_path) == f"train resume {tmp_path}"  # no configuration
    (tmp_path / "config.yaml").write_text("plugins: [mine]\n")
    assert format_saved_command("resume", tmp_path) == f"train resume {tmp_path} plugins=[mine]"
    (tmp_path / "config.yaml").write_text("plugins: 3\n")
    assert format_saved_command("resume", tmp_path) == f"train resume {tmp_path}"
