"""Keys of initial weights: what is refused before anything is built, the stored path, and the identity of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from trainer.config import compose
from trainer.utils.errors import ConfigError

MLP = ("model=mlp", "data=moons")


@pytest.fixture(autouse=True)
def _in_folder_with_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("outputs/first-run").mkdir(parents=True)
    Path("outputs/latest").symlink_to("first-run", target_is_directory=True)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("init_skip=[head]",), "init_skip: it has no effect without init_from"),
        (("init_preprocessing=fit",), "init_preprocessing: it has no effect without init_from"),
        (("init_from=outputs/frist-run",), "outputs; did you mean first-run?"),
        (("init_from=outputs/none/run",), "outputs/none/run does not exist; the nearest directory that exists is"),
        (("init_from=7",), "init_from: 7 given; it must be text"),
        (("init_from=outputs/latest", "init_skip=head"), "init_skip: 'head' given; it must be a list of strings"),
        (("init_from=outputs/latest", "init_preprocessing=none"), "it must be one of auto, fit"),
    ],
)
def test_invalid_keys_are_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose.compose([*MLP, *overrides])
    assert message in str(caught.value)


def test_problems_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        compose.compose([*MLP, "init_from=none", "batch_size=0"])
    assert {problem.split(":")[0] for problem in caught.value.problems} == {"batch_size", "init_from"}


def test_the_source_is_stored_by_its_absolute_path_without_links(tmp_path: Path) -> None:
    config = compose.compose([*MLP, "init_from=outputs/latest"])
    expected = str((tmp_path / "outputs/first-run").resolve())
    assert (config.tree["init_from"], config.raw["init_from"], config.settings.init_from) == (expected,) * 3


def test_an_interpolated_source_is_stored_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE", "outputs/latest")
    config = compose.compose([*MLP, "init_from=${oc.env:SOURCE}"])
    assert config.raw["init_from"] == "${oc.env:SOURCE}"
    assert config.settings.init_from == str(Path("outputs/first-run").resolve())


def test_a_source_is_part_of_the_identity_by_its_digest() -> None:
    plain = compose.compose(MLP)
    Path("copy").mkdir()
    first, second = (compose.compose([*MLP, f"init_from={name}"]) for name in ("outputs/first-run", "copy"))
    hashes = {
        replace(config, source_digest=digest).config_hash
        for config, digest in ((first, "a"), (second, "a"), (first, "b"), (plain, None))
    }
    assert len(hashes) == 3
    skipping = compose.compose([*MLP, "init_from=copy", "init_skip=[head]"])
    assert replace(skipping, source_digest="a").config_hash not in hashes


def test_runs_without_a_source_keep_their_identity() -> None:
    config = compose.compose(MLP)
    former_tree = {key: value for key, value in config.tree.items() if not key.startswith("init_")}
    assert replace(config, tree=former_tree).config_hash == config.config_hash


def test_file_that_is_a_link_keeps_its_suffix(tmp_path: Path) -> None:
    Path("blob").write_bytes(b"weights")
    Path("model.safetensors").symlink_to("blob")
    config = compose.compose([*MLP, "init_from=model.safetensors"])
    assert config.raw["init_from"] == str(tmp_path / "model.safetensors")
