"""Output of predictions: a table in one file, or a directory with images and a table of them.

Which of the two depends on the predictions alone: if there are images among them, such as segmentation masks, the
output is a directory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np

from trainer.core.prediction import DecodedPrediction, IndexedImage
from trainer.inference import prediction_files
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError
from trainer.utils.paths import describe_missing_path, find_unused_path

DEFAULT_DIRECTORY = "predictions"


class OutputWriter(Protocol):
    """Writer of decoded predictions."""

    def write(self, decoded: DecodedPrediction) -> None:
        """Write the predictions of some rows."""


class TableOutput:
    """Table of predictions in one file.

    Args:
        table: Writer of the file.
    """

    def __init__(self, table: prediction_files.PredictionWriter):
        self.table = table

    def write(self, decoded: DecodedPrediction) -> None:
        self.table.write(decoded.columns)


class ImageOutput:
    """Images as PNG files in a directory, with a table of them.

    Args:
        directory: Existing directory.
        table: Writer of the table.
    """

    def __init__(self, directory: Path, table: prediction_files.PredictionWriter):
        self.directory = directory
        self.table = table

    def write(self, decoded: DecodedPrediction) -> None:
        self.table.write(decoded.columns)
        for name, image in decoded.images.items():
            file = self.directory / name
            assert file.is_relative_to(self.directory), f"{name} is no relative path"
            assert ".." not in file.parts, f"{name} is outside of the output"
            file.parent.mkdir(parents=True, exist_ok=True)
            save_image(image, file)


def save_image(image: np.ndarray | IndexedImage, path: Path) -> None:
    """Write an image as a PNG file.

    Args:
        image: Pixels (H, W) uint8, uint16 or bool, (H, W, 2 to 4) uint8, or indices with a palette.
        path: File to write.
    """
    from PIL import Image

    if isinstance(image, IndexedImage):
        picture = Image.fromarray(image.indices)
        picture.putpalette(bytes(np.array(image.palette, np.uint8)))
    else:
        picture = Image.fromarray(image)
    picture.save(path, "PNG")


def check_file(output: str | None, run_dir: Path, inputs: Sequence[Path]) -> None:
    """Check an output before anything is predicted: it is a table, which may be replaced, or has no suffix.

    Args:
        output: Path from the user; None for the default.
        run_dir: Directory of the run.
        inputs: Files that are read.

    Raises:
        ConfigError: The suffix is unknown, the directory of a file does not exist, or it must not be replaced.
        SystemFault: The directory of a file is not writable.
    """
    if output is not None and Path(output).suffix:
        prediction_files.check_output(Path(output).expanduser(), run_dir, inputs)


def choose_path(output: str | None, run_dir: Path, *, has_images: bool) -> Path:
    """Return the path of the output.

    Args:
        output: Path from the user; None for a new one in the run directory.
        run_dir: Directory of the run.
        has_images: Whether there are images among the predictions.

    Raises:
        ConfigError: The path is not of the kind that the predictions need, or its directory does not exist.
    """
    if output is None:
        return find_unused_path(run_dir / (DEFAULT_DIRECTORY if has_images else prediction_files.DEFAULT_NAME))
    path = Path(output).expanduser()
    if not has_images:
        prediction_files.check_output(path, run_dir)
        return path
    if path.suffix.lower() in prediction_files.WRITERS:
        raise ConfigError(
            f"output: {str(path)!r} given; the predictions of this run are images, which are written to a directory"
            f" with a table {prediction_files.DEFAULT_NAME}: give a path without suffix"
        )
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"output: {describe_missing_path(path.absolute().parent)}")
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError(f"output: {path.absolute()} exists; images are written to a new directory")
    return path


@contextmanager
def open_writer(path: Path, *, has_images: bool) -> Iterator[OutputWriter]:
    """Yield a writer of an output that exists only once the block has ended without an error.

    Args:
        path: File or directory, from ``choose_path``.
        has_images: Whether there are images among the predictions.

    Raises:
        SystemFault: The output cannot be written.
    """
    if not has_images:
        with prediction_files.open_writer(path) as table:
            yield TableOutput(table)
        return
    with (
        atomic_write.create_directory(path) as directory,
        closing(prediction_files.CSVWriter(directory / prediction_files.DEFAULT_NAME)) as table,
    ):
        yield ImageOutput(directory, table)
