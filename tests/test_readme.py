"""What the README and the pages of docs/ show works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trainer.cli import main, verb_args
from trainer.config import compose
from trainer.config.plugins import declare_plugins
from trainer.runs import train

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [*sorted(ROOT.glob("*.md")), ROOT / "trainer/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
"""Every page with its text, by its path."""
GUIDES = {name: text for name, text in PAGES.items() if name == "README.md" or name.startswith("docs/")}
TEXT = "\n".join(GUIDES.values())

FILES = re.findall(r"^`(\S+\.(?:py|yaml))`:\n\n```(?:python|yaml)\n(.*?)```$", TEXT, re.DOTALL | re.MULTILINE)
"""Each file that is to be written: its name stands in the text, and the block is all of it."""
SCRIPTS = {
    name: blocks
    for name, text in GUIDES.items()
    if (blocks := re.findall(r"(?<!`:\n\n)^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
}
"""The other blocks of Python of each page, which are run one after another."""
BLOCKS = re.findall(r"^```(?:python|yaml)\n", TEXT, re.MULTILINE)
COMMANDS = re.findall(r"^train .*$", TEXT, re.MULTILINE) + re.findall(r"`(train [a-z-]+[= ][^`]*)`", TEXT)
VERBS = ("-m", "--config", "list", "show", "resume", "evaluate", "sample", "score", "report")
RUNS = sorted(
    {
        line.removeprefix("train ")
        for line in COMMANDS
        if not line.startswith(tuple(f"train {v}" for v in VERBS)) and "plugins=" not in line
    }
)
OWN = re.findall(r"^train (?:--config-dir my_conf )((?!show ).*)$", TEXT, re.MULTILINE)
OWN += re.findall(r"^train ((?!show |evaluate |-).*plugins=.*)$", TEXT, re.MULTILINE)
SAMPLES = re.findall(r"^train sample \S*-(\w+)-(\w+) (.*)$", TEXT, re.MULTILINE)
LINKS = [(name, link) for name, text in PAGES.items() for link in re.findall(r"\]\(([^)\s]+)\)", text)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the pages tell one to write."""
    for name, text in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_documentation_has_the_expected_code_blocks() -> None:
    assert len(FILES) == len(dict(FILES)) == 15
    assert len(BLOCKS) == len(FILES) + sum(map(len, SCRIPTS.values())), "a block that is neither written nor run"
    assert {"README.md", "docs/guides/python.md"} <= SCRIPTS.keys()
    assert len(OWN) == 10
    assert len(RUNS) > 30
    assert SAMPLES


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 200
    assert {name for name in PAGES if name.startswith("docs/guides")} == {
        f"docs/{link}" for name, link in LINKS if name == "docs/index.md" and link.startswith("guides/")
    }, "a page that nothing leads to"


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_every_link_leads_somewhere(page: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    if path.startswith(("http:", "https:")):
        return
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    if anchor:
        titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("words", OWN)
@pytest.mark.slow
def test_every_extension_trains(words: str, folder: Path) -> None:
    result = train.run(compose.compose([*words.split(), "epochs=2"], [folder / "my_conf"]))
    declare_plugins([])
    assert result.status == "finished"
    assert result.test


@pytest.mark.usefixtures("folder")
def test_they_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run_command(["show", "--config-dir", "my_conf", "plugins=[my_net]", "model=my_net"]) == 0
    declare_plugins([])
    shown = capsys.readouterr().out
    assert "hidden units" in shown
    assert "a whole number >= 1" in shown


@pytest.mark.parametrize("page", SCRIPTS)
@pytest.mark.slow
def test_the_objects_from_python(page: str, folder: Path) -> None:
    found: dict[str, Any] = {}
    for block in SCRIPTS[page]:
        exec(compile(block, page, "exec"), found)
    assert found["result"].test["accuracy"] > 0.5
    assert (folder / found["result"].folder / "results.json").is_file()


@pytest.mark.parametrize("line", RUNS)
@pytest.mark.slow
def test_every_command_composes(line: str) -> None:
    words = [word for word in line.split("#")[0].split() if not word.startswith("data_dir=")]
    assert compose.compose([word.strip("'") for word in words]).names["model"]


@pytest.mark.parametrize(("model", "data", "words"), SAMPLES)
def test_every_sample_is_asked_for_as_it_should_be(model: str, data: str, words: str) -> None:
    target = compose.compose([f"model={model}", f"data={data}"]).tree["task"]["_target_"]
    assert verb_args.parse_verb_args("sample", words.split(), verb_args.get_verb_parameters("sample", target))["prompt"]


def test_the_table_of_files_names_files_that_are_there() -> None:
    paths = re.findall(r"`((?:trainer|tests|conf|docs|examples)/[\w./]+)`", PAGES["CONTRIBUTING.md"])
    plain = [path for path in paths if path == path.lower() or path.endswith(".py")]
    assert len(plain) > 60
    assert [path for path in plain if not (ROOT / path).exists()] == []
