"""Pages in a real browser, offline: no error, no request, no accessibility finding, nothing wider than the screen."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.finished_runs import make_config, write_run
from tests.helpers.search_records import make_search
from trainer.analysis import run_record
from trainer.config import compose
from trainer.report import run_page, runs_page, search_page, write_page
from trainer.runs import train

sync_api = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS = (400, 800, 1400)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("in_tmp"),
    pytest.mark.skipif(BROWSER is None, reason="no browser is installed here"),
]


@pytest.fixture
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield instance
        instance.close()


def write_run_page(*overrides: str) -> Path:
    path = Path(train.run(compose.compose(["model=mlp", "epochs=2", *overrides])).run_dir)
    contents = run_page.make_run_page(run_record.read_record(path))
    write_page.write_page(write_page.render_page("run.html", contents), path / write_page.REPORT_FILE)
    return (path / write_page.REPORT_FILE).absolute()


def open_page(browser: Any, path: Path, width: int, problems: list[str], **options: Any) -> Any:
    page = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options).new_page()
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or problems.append(request.url))
    page.goto(path.as_uri())
    return page


def find_violations(page: Any) -> list[str]:
    return [f"{item['id']}: {item['nodes'][0]['html'][:200]}" for item in axe.Axe().run(page).response["violations"]]


def write_runs_page() -> Path:
    for name, status in (("a", "finished"), ("b", "finished"), ("c", "failed")):
        write_run(
            Path("runs"), name, make_config(lr=0.1 if name == "a" else 0.01), [f"optimizer.lr={name}"], status=status
        )
    contents = runs_page.make_runs_page(Path("runs"))
    write_page.write_page(write_page.render_page("runs.html", contents), Path("runs", write_page.REPORT_FILE))
    return Path("runs", write_page.REPORT_FILE).absolute()


def write_search_page() -> Path:
    Path("search.json").write_text(json.dumps(make_search()))
    contents = search_page.make_search_page(Path())
    write_page.write_page(write_page.render_page("search.html", contents), Path(write_page.REPORT_FILE))
    return Path(write_page.REPORT_FILE).absolute()


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda: write_run_page("data=digits"), id="run of images"),
        pytest.param(lambda: write_run_page("data=diabetes"), id="run of numbers"),
        pytest.param(write_runs_page, id="directory"),
        pytest.param(write_search_page, id="search"),
    ],
)
def test_a_page_is_clean_at_every_width(browser: Any, write: Callable[[], Path]) -> None:
    path = write()
    problems: list[str] = []
    for width in WIDTHS:
        for scheme in ("light", "dark"):
            page = open_page(browser, path, width, problems, color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            problems += find_violations(page)
    assert problems == []


def test_nothing_is_cut_or_torn_apart_on_a_phone(browser: Any) -> None:
    """Captions are no wider than the screen, a choice is beside its label, and a number is on one line."""
    page = open_page(browser, write_run_page("data=digits"), 400, [])
    boxes = "(selector) => [...document.querySelectorAll(selector)].map(item => item.getBoundingClientRect().toJSON())"
    captions = page.evaluate(boxes, "section > .scroll caption")
    assert captions
    assert max(box["right"] for box in captions) <= 400
    inputs, labels = (page.evaluate(boxes, f".axis-choice > {name}") for name in ("input", "label"))
    assert all(label["top"] < choice["bottom"] for choice, label in zip(inputs, labels, strict=True))
    page.evaluate("document.querySelector('dl dt').textContent = 'share of the improvement in the last fifth'")
    page.evaluate("document.querySelector('dl dd').textContent = '0.205123'")
    numbers = page.evaluate(boxes, "dl dd")
    assert max(box["height"] for box in numbers) < 40


def test_the_horizontal_axis_is_chosen_without_scripts(browser: Any) -> None:
    path = write_run_page("data=moons")
    page = open_page(browser, path, 800, [], java_script_enabled=False)
    assert page.locator(".charts-steps").is_visible()
    page.locator("label[for=axis-seconds]").click()
    assert page.locator(".charts-seconds").is_visible()
    assert not page.locator(".charts-steps").is_visible()
    assert page.locator(".copy").count() == 0


def test_tables_are_sorted_and_filtered_with_scripts(browser: Any) -> None:
    path = write_run_page("data=moons", "epochs=9")
    page = open_page(browser, path, 800, [])
    page.locator("summary", has_text="All values").click()
    table = page.locator("table[data-sortable]").first
    first = table.locator("tbody tr").first
    before = first.inner_text()
    header = table.locator("th button", has_text="train_loss")
    header.click()
    assert table.locator("th[aria-sort=ascending]").inner_text() == "train_loss"
    values = [float(cell) for cell in table.locator("tbody td:nth-child(4)").all_inner_texts()]
    assert values == sorted(values)
    header.click()
    header.click()
    assert first.inner_text() != before
    page.locator("input[type=search]").first.fill("no such row")
    assert table.locator("tbody tr:visible").count() == 0


def test_a_broken_page_would_be_found(browser: Any) -> None:
    path = write_run_page("data=moons")
    text = path.read_text().replace(' aria-label="loss against steps', ' data-nothing="loss against steps')
    path.write_text(text.replace("--muted: #57606a", "--muted: #dddddd"))
    problems: list[str] = []
    page = open_page(browser, path, 800, problems, color_scheme="light")
    assert {item.partition(":")[0] for item in find_violations(page)} >= {"color-contrast", "svg-img-alt"}
