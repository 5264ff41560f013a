"""Logger for Weights & Biases, offline by default: ``wandb sync RUN/wandb/offline-run-*`` uploads runs."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from trainer.viz.loggers.logger import LoggedRun, Logger

HEADER_SIZE, BLOCK_SIZE = 7, 32768
FULL_RECORD, LAST_PART = 1, 4


class WandbLogger(Logger):
    """Logger for Weights & Biases.

    Each part of a run that was stopped and resumed has its own offline directory; all have the same id and become one
    run when they are uploaded.

    Args:
        project: Name of the project.
        mode: ``offline`` or ``online``.
        entity: User or team that the project belongs to.
        group: Group of runs.
        tags: Tags of the run.
    """

    package, extra = "wandb", "wandb"

    def __init__(
        self,
        project: str = "train",
        mode: Literal["offline", "online"] = "offline",
        entity: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
    ):
        self.project, self.mode, self.entity, self.group, self.tags = project, mode, entity, group, tags
        self._run: Any = None

    def open(self, run: LoggedRun, run_id: str | None, step: int) -> str:
        import wandb

        # Read before wandb creates a new file for this part of the run.
        self._logged_before = _read_history_steps(run.run_dir / "wandb", run_id) if run_id is not None else {}
        self._run = wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group,
            tags=self.tags,
            name=run.name,
            id=run_id,
            resume=None if run_id is None or self.mode == "offline" else "allow",
            dir=str(run.run_dir),
            mode=self.mode,
            config=dict(run.config),
            reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", x_disable_stats=True),
        )
        return str(self._run.id)

    def read_logged_steps(self) -> dict[str, int]:
        return self._logged_before

    def write_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        self._run.log(dict(metrics), step=step)

    def write_images(self, files: Sequence[Path], step: int) -> None:
        import wandb

        self._run.log({f"images/{file.stem}": wandb.Image(str(file)) for file in files}, step=step)

    def close(self, status: str) -> None:
        self._run.finish(exit_code=int(status != "finished"))


def _read_history_steps(directory: Path, run_id: str) -> dict[str, int]:
    """Return the last step of each metric in the files of earlier parts of a run."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    last_steps: dict[str, int] = {}
    for file in directory.glob(f"*run-*/run-{run_id}.wandb"):
        for record in read_records(file.read_bytes()):
            parsed = messages.Record()
            parsed.ParseFromString(record)
            for item in parsed.history.item:
                name = item.key or "/".join(item.nested_key)
                last_steps[name] = max(parsed.history.step.num, last_steps.get(name, -1))
    return last_steps


def read_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a .wandb file.

    The file is a header and blocks of record parts, each preceded by its checksum, length and kind. An incomplete last
    record of a killed process is skipped.

    Args:
        data: Contents of the file.
    """
    offset, parts = HEADER_SIZE, b""
    while offset + HEADER_SIZE <= len(data):
        block_space = BLOCK_SIZE - offset % BLOCK_SIZE
        if block_space < HEADER_SIZE:
            offset += block_space
            continue
        _, length, kind = struct.unpack_from("<IHB", data, offset)
        if kind == 0 or offset + HEADER_SIZE + length > len(data):
            return
        parts += data[offset + HEADER_SIZE : offset + HEADER_SIZE + length]
        offset += HEADER_SIZE + length
        if kind in (FULL_RECORD, LAST_PART):
            yield parts
            parts = b""
