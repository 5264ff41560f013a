"""Files of real data sets, downloaded if necessary and verified by sha256 before use."""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from trainer.utils.errors import SystemFault
from trainer.utils.paths import missing_file_error

ALLOWED_SCHEMES = ("https",)
TIMEOUT_SECONDS = 30
"""Timeout of network operations."""
BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Source:
    """File of a data set in its canonical raw layout.

    Args:
        path: Path relative to the folder of the data set, such as ``MNIST/raw/train-images-idx3-ubyte.gz``.
        sha256: Digest of the file, 64 hexadecimal digits.
        url: https address, or None where license or source do not allow a download.
    """

    path: str
    sha256: str
    url: str | None


def fetch_files(name: str, sources: Sequence[Source], data_dir: str | None) -> Path:
    """Return the folder ``<root>/<name>`` with all files, verified.

    The root is ``data_dir``, else the environment variable ``TRAIN_DATA``, else the cache folder. Missing files are
    downloaded; if none is missing, nothing is written, so the root may be read-only.

    Args:
        name: Name of the data set, which is that of its folder.
        sources: Files of the data set.
        data_dir: Root of all data sets; None for the default.

    Raises:
        DataError: The root does not exist.
        SystemFault: A file is missing and cannot be downloaded, or has a wrong digest.
    """
    root = data_root(data_dir)
    if (data_dir or os.environ.get("TRAIN_DATA")) and not root.is_dir():
        raise missing_file_error(root, "data_dir" if data_dir else "TRAIN_DATA")
    folder = root / name
    missing = [source for source in sources if not os.path.exists(folder / source.path)]
    manual = [source for source in missing if source.url is None]
    if manual:
        paths = "\n".join(f"  {folder / source.path}" for source in manual)
        raise SystemFault(f"data {name}: not downloadable; put the missing files here:\n{paths}")
    for source in sources:
        if source in missing:
            _download(name, source, folder / source.path)
        else:
            _verify(name, source, folder / source.path)
    return folder


def data_root(data_dir: str | None) -> Path:
    """Return the folder of all real data sets, which may not exist."""
    root = data_dir or os.environ.get("TRAIN_DATA")
    if root:
        return Path(os.path.abspath(Path(root).expanduser()))
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache").absolute() / "train-zoo"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _describe_mismatch(source: Source, actual: str) -> str:
    return f"sha256 {source.sha256[:12]}... expected, {actual[:12]}... found"


def _verify(name: str, source: Source, path: Path) -> None:
    if not os.path.isfile(path):
        raise SystemFault(f"data {name}: {path} is not a regular file; move it away{_source_url(source)}")
    try:
        actual = _digest(path)
    except OSError as error:
        raise SystemFault(f"data {name}: cannot read {path}: {error.strerror}") from error
    if actual != source.sha256:
        remedy = f"replace it by the original{_source_url(source)}"
        if source.url is not None:
            remedy = f"move it away and the same command downloads it from {source.url}"
        raise SystemFault(f"data {name}: {path} has a wrong checksum: {_describe_mismatch(source, actual)}; {remedy}")


def _source_url(source: Source) -> str:
    return f" (from {source.url})" if source.url else ""


def _download(name: str, source: Source, path: Path) -> None:
    """Download one file via ``<path>.part``, which an interrupted download leaves for resuming."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _open_exclusively(part) as file:
            if os.path.exists(path):  # another process of a sweep has finished it
                part.unlink()
                return _verify(name, source, path)
            _receive(source, file, name)
            actual = _digest(part)
            if actual == source.sha256:
                return os.replace(part, path)
            part.unlink()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise SystemFault(
            f"data {name}: cannot download: {reason}; run again, or place the file at\n  {path}{_source_url(source)}"
        ) from error
    raise SystemFault(
        f"data {name}: wrong checksum of {source.url}: {_describe_mismatch(source, actual)}; file removed"
    )


@contextmanager
def _open_exclusively(part: Path) -> Iterator[BinaryIO]:
    """Open the partial file for appending under an exclusive lock."""
    while True:
        with part.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_same_file(part, file):
                yield file
                return


def _is_same_file(part: Path, file: BinaryIO) -> bool:
    """Return whether the path still is the opened file; another process may have renamed or removed it."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(part))
    except FileNotFoundError:
        return False


class _SafeRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        return super().redirect_request(req, fp, code, msg, headers, _check_url(newurl))


def _check_url(url: str) -> str:
    if urlsplit(url).scheme not in ALLOWED_SCHEMES:
        raise SystemFault(f"cannot download from {url}: only {' or '.join(ALLOWED_SCHEMES)} is allowed")
    return url


def _open(url: str, start: int) -> http.client.HTTPResponse:
    """Request a URL from byte ``start`` on, with verified certificates."""
    request = urllib.request.Request(_check_url(url), headers={"Range": f"bytes={start}-"} if start else {})
    verified = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    return urllib.request.build_opener(verified, _SafeRedirect).open(request, timeout=TIMEOUT_SECONDS)


def _receive(source: Source, file: BinaryIO, name: str) -> None:
    """Download the remaining bytes; restart from zero if the server cannot resume or rejects the range."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    assert source.url is not None
    start = file.seek(0, os.SEEK_END)
    try:
        response = _open(source.url, start)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        start = 0
        response = _open(source.url, start)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with response, Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        if response.status != http.HTTPStatus.PARTIAL_CONTENT:
            start = 0
        received = file.truncate(start)
        total = None if response.length is None else start + response.length
        task = progress.add_task(f"{name}: {Path(source.path).name}", total=total, completed=start)
        while block := response.read(BLOCK_BYTES):
            file.write(block)
            received += len(block)
            progress.update(task, completed=received)
        file.flush()
    if total is not None and received < total:
        raise OSError(f"connection closed after {received:,} of {total:,} bytes")
