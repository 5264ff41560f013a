"""Commands, code blocks and links of the README and the pages of docs/."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import trainer
from trainer.cli import main, verb_args
from trainer.config import compose
from trainer.config.plugins import declare_plugins
from trainer.inference import method_options
from trainer.runs import train
from trainer.runs.commands import COMMANDS as SUBCOMMANDS

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [*sorted(ROOT.glob("*.md")), ROOT / "trainer/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
"""Text of every page by its path."""
GUIDES = {name: text for name, text in PAGES.items() if name == "README.md" or name.startswith("docs/")}
TEXT = "\n".join(GUIDES.values())

FILES = re.findall(r"^`(\S+\.(?:py|yaml))`:\n\n```(?:python|yaml)\n(.*?)```$", TEXT, re.DOTALL | re.MULTILINE)
"""Files that the reader is to write: the name is in the text, the contents are in the block below it."""
SCRIPTS = {
    name: blocks
    for name, text in GUIDES.items()
    if (blocks := re.findall(r"(?<!`:\n\n)^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE))
}
"""The other Python blocks of each page, run one after another."""
BLOCKS = re.findall(r"^```(?:python|yaml)\n", TEXT, re.MULTILINE)
COMMANDS = re.findall(r"^train .*$", TEXT, re.MULTILINE) + re.findall(r"`(train [a-z-]+[= ][^`]*)`", TEXT)
VERBS = ("-m", "--config", *SUBCOMMANDS)
RUNS = sorted(
    {
        line.removeprefix("train ")
        for line in COMMANDS
        if not line.startswith(tuple(f"train {v}" for v in VERBS)) and "plugins=" not in line
    }
)
PLUGIN_RUNS = re.findall(r"^train (?:--config-dir my_conf )((?!show ).*)$", TEXT, re.MULTILINE)
PLUGIN_RUNS += re.findall(r"^train ((?!show |evaluate |-).*plugins=.*)$", TEXT, re.MULTILINE)
SAMPLES = re.findall(r"^train sample \S*-(\w+)-(\w+) (.*)$", TEXT, re.MULTILINE)
LINKS = [(name, link) for name, text in PAGES.items() for link in re.findall(r"\]\(([^)\s]+)\)", text)]


@pytest.fixture
def docs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a directory with the files that the pages tell the reader to write."""
    for name, text in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_documentation_has_the_expected_code_blocks() -> None:
    assert len(FILES) == len(dict(FILES)) == 17
    assert len(BLOCKS) == len(FILES) + sum(map(len, SCRIPTS.values())), "a block that is neither written nor run"
    assert {"README.md", "docs/guides/python.md"} <= SCRIPTS.keys()
    assert len(PLUGIN_RUNS) == 11
    assert len(RUNS) > 30
    assert SAMPLES


def test_readme_is_short_and_index_links_every_guide() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 200
    assert {name for name in PAGES if name.startswith("docs/guides")} == {
        f"docs/{link}" for name, link in LINKS if name == "docs/index.md" and link.startswith("guides/")
    }, "a guide that the index does not link"


@pytest.mark.parametrize(("page", "link"), LINKS)
def test_link_target_exists(page: str, link: str) -> None:
    path, _, anchor = link.partition("#")
    if path.startswith(("http:", "https:")):
        return
    target = (ROOT / page).parent / path if path else ROOT / page
    assert target.exists()
    if anchor:
        titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("words", PLUGIN_RUNS)
@pytest.mark.slow
def test_documented_plugin_command_trains(words: str, docs_dir: Path) -> None:
    result = train.run(compose.compose([*words.split(), "epochs=2"], [docs_dir / "my_conf"]))
    declare_plugins([])
    assert result.status == "finished"
    assert result.test


@pytest.mark.usefixtures("docs_dir")
def test_show_describes_documented_plugin(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run_command(["show", "--config-dir", "my_conf", "plugins=[my_net]", "model=my_net"]) == 0
    declare_plugins([])
    output = capsys.readouterr().out
    assert "hidden units" in output
    assert "a whole number >= 1" in output


def test_classes_to_subclass_are_exported_by_the_package() -> None:
    guide = PAGES["docs/guides/extend.md"]
    nodes = [node for name, text in FILES if name.endswith(".py") for node in ast.walk(ast.parse(text))]
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    assert [node.module for node in imports if str(node.module).startswith("trainer.")] == []
    assert re.findall(r"`trainer(?:\.\w+)+\.[A-Z]\w*`", guide) == []
    package_names = {alias.name for node in imports if node.module == "trainer" for alias in node.names}
    bases = {ast.unparse(base) for node in nodes if isinstance(node, ast.ClassDef) for base in node.bases}
    text_names = set(re.findall(r"`trainer\.([A-Z]\w*)`", guide))
    base_classes = bases & package_names | text_names - {"DataError"}
    assert base_classes == {"Augment", "Callback", "Dataset", "LRSchedule", "Logger", "ScoredTask", "Task"}
    assert base_classes | text_names <= set(trainer.__all__)
    section = PAGES["docs/api/trainer.md"].partition("## To subclass")[2].partition("\n## ")[0]
    assert base_classes <= set(re.findall(r"^::: trainer\.[\w.]+\.(\w+)$", section, re.MULTILINE))


@pytest.mark.parametrize("page", SCRIPTS)
@pytest.mark.slow
def test_documented_python_script_runs(page: str, docs_dir: Path) -> None:
    namespace: dict[str, Any] = {}
    for block in SCRIPTS[page]:
        exec(compile(block, page, "exec"), namespace)
    assert namespace["result"].test["accuracy"] > 0.5
    assert (docs_dir / namespace["result"].run_dir / "results.json").is_file()


@pytest.mark.parametrize("line", RUNS)
@pytest.mark.slow
def test_documented_command_composes(line: str) -> None:
    words = [word for word in line.split("#")[0].split() if not word.startswith(("data_dir=", "init_"))]
    assert compose.compose([word.strip("'") for word in words]).names["model"]


@pytest.mark.parametrize(("model", "data", "words"), SAMPLES)
def test_documented_sample_command_parses(model: str, data: str, words: str) -> None:
    target = compose.compose([f"model={model}", f"data={data}"]).tree["task"]["_target_"]
    assert verb_args.parse_verb_args("sample", words.split(), method_options.find_task_options(target, "sample"))[
        "prompt"
    ]


def test_files_named_in_contributing_exist() -> None:
    paths = re.findall(r"`((?:trainer|tests|conf|docs|examples)/[\w./]+)`", PAGES["CONTRIBUTING.md"])
    plain = [path for path in paths if path == path.lower() or path.endswith(".py")]
    assert len(plain) > 60
    assert [path for path in plain if not (ROOT / path).exists()] == []
