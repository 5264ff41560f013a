"""Writing of pages: the template of a kind of page, filled in, as one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainer.utils import atomic_write

REPORT_FILE = "report.html"
"""Name of the page in the directory that it describes."""


def render_page(template: str, contents: Mapping[str, Any]) -> str:
    """Return a page as HTML; texts are escaped.

    Args:
        template: Name of the template.
        contents: Values for it.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("trainer.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(contents)


def write_page(text: str, path: Path) -> None:
    """Write a page, replacing an earlier one at once, so that a reload never shows half of it.

    Args:
        text: The page.
        path: File to write.

    Raises:
        SystemFault: It cannot be written.
    """
    atomic_write.write_text(path, text)
