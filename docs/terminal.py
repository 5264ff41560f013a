"""Makes the picture of the README: what a run shows, as an SVG without fonts from elsewhere.

python docs/terminal.py
"""

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
    # No terminal, so that there is no bar: what is written over it would stand in the picture line by line.
    console = Console(record=True, width=96, file=io.StringIO(), highlight=False)
    run_report.console = console
    console.print("[dim]$[/dim] train model=lstm data=synthetic_seq epochs=6")
    with tempfile.TemporaryDirectory() as folder:
        place = "outputs/2026-01-31/12-00-00-lstm-synthetic_seq"
        run = trainer.compose(["model=lstm", "data=synthetic_seq", "epochs=6", f"hydra.run.dir={folder}/{place}"])
        trainer.run(run)
        svg = console.export_svg(title="train", unique_id="train")
    svg = svg.replace(f"{folder}/", "")
    # The viewer's own monospaced font: a picture in a README fetches nothing.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code", "ui-monospace")
    (HERE / "terminal.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
