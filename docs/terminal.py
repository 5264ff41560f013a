"""Make the terminal image of the README, an SVG without web fonts: python docs/terminal.py"""

from __future__ import annotations

import io
import re
import tempfile
from pathlib import Path

from rich.console import Console

import trainer
from trainer.runs import run_report

HERE = Path(__file__).parent


def main() -> None:
    # Not a terminal, so that there is no progress bar, whose updates would all be recorded.
    console = Console(record=True, width=96, file=io.StringIO(), highlight=False)
    run_report.console = console
    console.print("[dim]$[/dim] train model=lstm data=synthetic_seq epochs=6")
    with tempfile.TemporaryDirectory() as folder:
        run_dir = "outputs/2026-01-31/12-00-00-lstm-synthetic_seq"
        config = trainer.compose(["model=lstm", "data=synthetic_seq", "epochs=6", f"hydra.run.dir={folder}/{run_dir}"])
        trainer.run(config)
        svg = console.export_svg(title="train", unique_id="train")
    svg = svg.replace(f"{folder}/", "")
    # The monospaced font of the viewer, because an image in a README cannot load any.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code", "ui-monospace")
    (HERE / "terminal.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
