"""A knowledge graph with a known answer: hours of a clock, and relations that say how far one is behind another."""

from __future__ import annotations

from pathlib import Path

HOURS = 16


def write(folder: Path) -> Path:
    """Every fact "hour h and k more is hour h + k", in one file: whoever knows most of them can tell the rest."""
    path = folder / "clock.txt"
    facts = [f"h{h}\tplus{k}\th{(h + k) % HOURS}\n" for h in range(HOURS) for k in range(1, HOURS)]
    path.write_text("".join(facts))
    return path
