"""Image files that a trained model is applied to: listing, and decoding in groups that fit in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from trainer.data.readers import file_listing, image_file, text_file
from trainer.data.readers.skipped_rows import OnError
from trainer.utils.errors import DataError
from trainer.utils.paths import missing_file_error
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import escape_control_chars, join_names

"""What is done about files that cannot be read: ``error`` refuses all, ``skip`` leaves these out and lists them."""
SKIP_HINT = "on_error=skip leaves these files out"
MAX_SKIPPED_NAMES = 50
"""Maximum number of skipped files that are named."""
OPTION = "input"
log = logging.getLogger(__name__)
T = TypeVar("T")


class ImageFiles(NamedTuple):
    """Image files to read.

    Attributes:
        paths: The files.
        names: Their paths relative to the folder that was given, as text.
    """

    paths: Sequence[Path]
    names: Sequence[str]

    @classmethod
    def from_folder(cls, root: Path, paths: Sequence[Path]) -> ImageFiles:
        """Name files by their paths relative to a folder.

        Args:
            root: The folder.
            paths: Files in it or in its subfolders.
        """
        return cls(paths, [format_file_name(path.relative_to(root).as_posix()) for path in paths])

    def select_rows(self, rows: Sequence[int]) -> ImageFiles:
        """Return some of the files, by number."""
        return ImageFiles([self.paths[row] for row in rows], [self.names[row] for row in rows])


def format_file_name(name: str) -> str:
    """Return a file name as text: bytes that are not UTF-8 are replaced, since no text file can contain them."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def find_images(path: str) -> ImageFiles:
    """Find an image file, or all images in a folder and its subfolders, sorted by path; links to folders are ignored.

    Args:
        path: File or folder.

    Raises:
        DataError: The path is missing, a pipe or a device, or a folder without images.
        SystemFault: A folder cannot be read.
    """
    root = Path(path).expanduser()
    if not os.path.lexists(root):  # not Path.exists, which raises for a name that is too long
        raise missing_file_error(root, OPTION)
    if special_type := text_file.describe_special_file(root):
        raise DataError(f"{OPTION}: {root.absolute()} is {special_type}")
    if not os.path.isdir(root):
        return ImageFiles([root], [format_file_name(root.name)])
    found = [
        *file_listing.list_files(root, image_file.FILE_EXTENSIONS),
        *file_listing.list_nested_files(root, image_file.FILE_EXTENSIONS),
    ]
    paths = sorted(file for file in found if not os.path.isdir(file))
    if not paths:
        raise DataError(f"{OPTION}: {root.absolute()} has no images ({', '.join(image_file.FILE_EXTENSIONS)})")
    return ImageFiles.from_folder(root, paths)


def find_labeled_images(path: str, class_names: Sequence[str]) -> tuple[ImageFiles, list[int]]:
    """Find the images in ``CLASS/*.png`` and the index of the class of each, sorted by path.

    Args:
        path: Folder with a subfolder for each class; classes may be missing.
        class_names: Classes of the run.

    Raises:
        DataError: The path is missing, no folder, or without images; or a subfolder is no class.
        SystemFault: A folder cannot be read.
    """
    root = text_file.check_folder(path, "it must be a folder with one subfolder per class", OPTION)
    folders = [entry for entry in text_file.list_folder(root, OPTION) if os.path.isdir(entry)]
    unknown = next((folder.name for folder in folders if folder.name not in class_names), None)
    if unknown is not None:
        classes = f"the classes of this run are {join_names(class_names)}"
        raise DataError(
            f"{OPTION}: {root.absolute()} has the folder {escape_control_chars(unknown, one_line=True)!r}, which is"
            f" no class{did_you_mean(unknown, class_names) or ';'} {classes}"
        )
    files_by_class = {
        folder.name: [
            file for file in file_listing.list_files(folder, image_file.FILE_EXTENSIONS) if not os.path.isdir(file)
        ]
        for folder in folders
    }
    file_listing.warn_about_ignored_files(root, folders, image_file.FILE_EXTENSIONS, [root])
    paths = [file for files in files_by_class.values() for file in files]
    if not paths:
        raise DataError(
            f"{OPTION}: {root.absolute()} has no images in folders of the classes {join_names(class_names)}"
        )
    return ImageFiles.from_folder(root, paths), [class_names.index(file.parent.name) for file in paths]


class ImageReader:
    """Reader of image files, in groups.

    Args:
        files: Files to read.
        on_error: What is done about files that cannot be read.
    """

    def __init__(self, files: ImageFiles, on_error: OnError):
        self.files = files
        self.on_error = on_error
        self.errors: dict[int, DataError] = {}
        """Error of each file that could not be read, by number."""

    def read_headers(self) -> dict[int, image_file.ImageHeader]:
        """Return the header of each file that has one, by number: most errors are found before the first prediction.

        Raises:
            DataError: Files cannot be read, and none may be skipped; their contents are checked too, to name all.
        """
        rows = range(len(self.files.paths))
        headers = dict(zip(rows, self._read(rows, image_file.read_header), strict=True))
        valid = {row: header for row, header in headers.items() if header is not None}
        if self.errors and self.on_error == "error":
            self._fail(list(valid))
        return valid

    def iter_groups(
        self, groups: Sequence[Sequence[int]], decode: Callable[[Path], T]
    ) -> Iterator[tuple[list[int], list[T]]]:
        """Yield the numbers and contents of the files of each group that can be read.

        Args:
            groups: Numbers of the files that are decoded together, in threads.
            decode: Function from a file to its contents, which raises DataError.

        Raises:
            DataError: Files cannot be read, and none may be skipped; later files are checked too, to name all.
        """
        num_read = 0
        for number, rows in enumerate(groups):
            contents = self._read(rows, decode)
            if self.errors and self.on_error == "error":
                self._fail([row for group in groups[number + 1 :] for row in group])
            pairs = [(row, content) for row, content in zip(rows, contents, strict=True) if content is not None]
            num_read += len(pairs)
            if pairs:
                yield [row for row, _ in pairs], [content for _, content in pairs]
        if self.errors:
            self._report_skipped(num_read)

    def _read(self, rows: Sequence[int], read: Callable[[Path], T]) -> list[T | None]:
        results = image_file.try_map_in_threads(read, [self.files.paths[row] for row in rows])
        self.errors |= {row: result for row, result in zip(rows, results, strict=True) if isinstance(result, DataError)}
        return [None if isinstance(result, DataError) else result for result in results]

    def _fail(self, remaining: Sequence[int]) -> None:
        """Raise an error that names the files that cannot be read, also among those that were not decoded yet."""
        self._read(remaining, _check_contents)
        error = image_file.make_files_error(self.errors.values(), len(self.files.paths), OPTION)
        raise DataError(*error.problems, *([SKIP_HINT] if len(self.errors) < len(self.files.paths) else []))

    def _report_skipped(self, num_read: int) -> None:
        if not num_read:
            raise image_file.make_files_error(self.errors.values(), len(self.files.paths), OPTION)
        problems = image_file.describe_problems(self.errors.values(), MAX_SKIPPED_NAMES)
        count = f"{len(self.errors)} of {len(self.files.paths)} files"
        log.warning("%s", "\n".join((f"{OPTION}: {count} cannot be read and are skipped:", *problems)))


def _check_contents(path: Path) -> None:
    with image_file.open_image(path) as image:
        image.load()


def split_evenly(rows: Sequence[int], size: int) -> list[Sequence[int]]:
    """Split numbers into consecutive groups.

    Args:
        rows: Numbers.
        size: Maximum number of them in a group.
    """
    return [rows[start : start + size] for start in range(0, len(rows), size)]
