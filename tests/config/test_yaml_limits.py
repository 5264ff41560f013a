"""Short YAML files that expand to huge values are refused before expansion."""

from __future__ import annotations

from pathlib import Path
from time import process_time

import pytest
from omegaconf import OmegaConf

from tests.helpers.commands import write
from tests.helpers.refusals import collect_problems
from trainer.config import registry, yaml_limits
from trainer.utils.errors import ConfigError

ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
)
MERGED = "a0: &a0 {x: 1, y: 2}\n" + "".join(f"a{n}: &a{n}\n  l: *a{n - 1}\n  r: *a{n - 1}\n" for n in range(1, 40))
BOMBS = {
    "aliases": ALIASES,
    "mappings": MERGED,
    "circle": "a: &a [*a]\n",
    "circle of mappings": "a: &a {b: *a}\n",
    "deep": "a: " + "[" * 5000 + "]" * 5000 + "\n",
    "long": "a: [" + "1, " * 100_000 + "1]\n",
    "texts": "a0: xxxxxxxxxx\n" + "".join(f"a{n}: ${{a{n - 1}}}${{a{n - 1}}}\n" for n in range(1, 60)),
    "lists": "a0: [1]\n" + "".join(f"a{n}: ['${{a{n - 1}}}', '${{a{n - 1}}}']\n" for n in range(1, 60)),
    "relative": "m:\n  a0: x\n" + "".join(f"  a{n}: ${{.a{n - 1}}}${{.a{n - 1}}}\n" for n in range(1, 60)),
    "chain": "a0: x\n" + "".join(f"a{n}: ${{a{n - 1}}}\n" for n in range(1, 3000)),
    "computed": "n: m\nm:\n  a0: x\n"
    + "".join("  aK: ${${n}.aJ}${${n}.aJ}\n".replace("K", str(k)).replace("J", str(k - 1)) for k in range(1, 60)),
}


def _read_and_check(path: Path) -> None:
    text = yaml_limits.read_yaml(path)
    yaml_limits.check_interpolations(OmegaConf.to_container(OmegaConf.create(text), resolve=False))


@pytest.mark.parametrize("name", BOMBS)
def test_yaml_expansion_bomb_is_refused(name: str, tmp_path: Path) -> None:
    start = process_time()  # not of other processes
    with pytest.raises(ConfigError):
        _read_and_check(write(tmp_path, {"bomb.yaml": BOMBS[name]}) / "bomb.yaml")
    assert process_time() - start < 5


@pytest.mark.parametrize("name", ["aliases", "circle", "deep", "texts", "lists"])
def test_bomb_in_a_user_folder_is_refused(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path, {"experiment/bomb.yaml": "# @package _global_\n" + BOMBS[name]})
    assert collect_problems("experiment=bomb", folders=(folder,))


def test_every_built_in_file_passes() -> None:
    for path in registry.get_builtin_dir().rglob("*.yaml"):
        yaml_limits.read_yaml(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: caf\xe9\n", "not UTF-8 (byte 6)"),
        (b"\xff\xfea\x00", "not UTF-8"),
        (b"a: [1\n", "not YAML"),
        (b"a: \x00", "not YAML"),
    ],
)
def test_undecodable_or_invalid_yaml_is_reported(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=r"bad\.yaml: ") as excinfo:
        yaml_limits.read_yaml(tmp_path / "bad.yaml")
    assert message in str(excinfo.value)


def test_directory_instead_of_a_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not a file"):
        yaml_limits.read_yaml(tmp_path)
