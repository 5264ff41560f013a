"""Changes to data files that a saved run must notice."""

from __future__ import annotations

import shutil
from pathlib import Path

CHANGED_DATA = "not what this run was trained on"
TABLES = (".csv", ".txt", ".ts")


def halve_files(folder: Path) -> None:
    """Keep the first half of each text table, or every second of more than four files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    tables = [path for path in files if path.suffix in TABLES]
    if len(files) > 4:
        for path in files[::2]:
            path.unlink()
        return
    for path in tables or files:
        if path.suffix in TABLES:
            first, *rest = path.read_text().split("\n")
            path.write_text("\n".join([first, *rest[: len(rest) // 2]]))
        else:
            path.write_bytes(path.read_bytes()[:-7])


def rename_classes(folder: Path) -> None:
    """Rename a class, or categories in the first table."""
    leaf_folders = sorted(
        path for path in folder.rglob("*") if path.is_dir() and not any(p.is_dir() for p in path.iterdir())
    )
    if len(leaf_folders) > 1:
        leaf_folders[0].rename(leaf_folders[0].with_name("zebra"))
        return
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix in TABLES:
            first, *rest = path.read_text().split("\n")
            path.write_text("\n".join([first, *(line.replace("a", "zebra").replace("1", "7") for line in rest)]))


def append_rows(folder: Path) -> None:
    """Repeat the last line of each table, or copy a file under another name."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix in TABLES:
            text = path.read_text().rstrip("\n")
            path.write_text(text + "\n" + text.rpartition("\n")[2] + "\n")
    for path in sorted(path for path in folder.rglob("*.png"))[:1]:
        shutil.copy(path, path.with_name("more.png"))
    for path in sorted(path for path in folder.rglob("*.npy"))[:1]:
        shutil.copy(path, path.with_name("more.npy"))
    for path in folder.rglob("*-images"):
        path.write_bytes(path.read_bytes()[:-1] + b"\x07")
