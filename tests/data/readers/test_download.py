"""Downloads: resumption, checksums, allowed schemes, concurrency and the data root."""

from __future__ import annotations

import hashlib
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainer.data.readers import download
from trainer.data.readers.download import Source, fetch_files
from trainer.utils.errors import DataError, SystemFault

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Server of CONTENT that records the range of every request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.ranges: list[str | None] = []
        self.content = CONTENT
        self.resumes = True
        self.breaks_after: int | None = None

    def url(self, path: str = "good", scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.server_port}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        byte_range = self.headers.get("Range")
        self.server.ranges.append(byte_range)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path != "/good":
            self.send_error(404)
            return
        start = int(byte_range.removeprefix("bytes=").rstrip("-")) if byte_range and self.server.resumes else 0
        if start >= len(self.server.content):
            self.send_error(416)
            return
        body = self.server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.server.breaks_after])

    def log_message(self, *args: object) -> None: ...


@pytest.fixture
def tls_server() -> Iterator[Server]:
    with Server() as http_server:
        thread = threading.Thread(target=http_server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield http_server
        http_server.shutdown()
        thread.join()


@pytest.fixture
def server(tls_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Server on the loopback interface over plain http, which is not allowed for users."""
    monkeypatch.setattr(download, "ALLOWED_SCHEMES", ("https", "http"))
    return tls_server


@pytest.fixture(autouse=True)
def _isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("TRAIN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def source(url: str | None, path: str = "raw/a.bin") -> Source:
    return Source(path, SHA256, url)


def test_a_missing_file_is_downloaded_once(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        folder = fetch_files("blobs", [source(server.url())], str(tmp_path))
    assert folder == tmp_path / "blobs"
    assert (folder / "raw/a.bin").read_bytes() == CONTENT
    assert server.ranges == [None]
    assert [p.name for p in (folder / "raw").iterdir()] == ["a.bin"]


def test_an_interrupted_download_is_resumed(server: Server, tmp_path: Path) -> None:
    server.breaks_after = 100_000
    with pytest.raises(SystemFault, match="closed after 100,000 of 512,000 bytes"):
        fetch_files("blobs", [source(server.url())], str(tmp_path))
    assert not (tmp_path / "blobs/raw/a.bin").exists()
    server.breaks_after = None
    folder = fetch_files("blobs", [source(server.url())], str(tmp_path))
    assert (folder / "raw/a.bin").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=100000-"]


@pytest.mark.parametrize("resumes", [True, False])
def test_partial_file_that_cannot_be_resumed_is_replaced(server: Server, tmp_path: Path, resumes: bool) -> None:
    """A server that resumes answers 416 to a part that is too long; one that does not sends the whole file."""
    server.resumes = resumes
    (tmp_path / "blobs/raw").mkdir(parents=True)
    (tmp_path / "blobs/raw/a.bin.part").write_bytes(CONTENT + b"more")
    folder = fetch_files("blobs", [source(server.url())], str(tmp_path))
    assert (folder / "raw/a.bin").read_bytes() == CONTENT


def test_download_with_wrong_checksum_is_removed(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(SystemFault, match=f"{SHA256[:12]}.*expected.*removed") as caught:
        fetch_files("blobs", [source(server.url())], str(tmp_path))
    assert caught.value.exit_code == 4
    assert hashlib.sha256(server.content).hexdigest()[:12] in str(caught.value)
    assert list((tmp_path / "blobs/raw").iterdir()) == []


def test_existing_file_with_wrong_checksum_raises_and_stays(tmp_path: Path) -> None:
    target = tmp_path / "blobs/raw/a.bin"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"mine")
    with pytest.raises(SystemFault, match=f"{target} has a wrong checksum.*move it away"):
        fetch_files("blobs", [source("https://example.invalid/a")], str(tmp_path))
    assert target.read_bytes() == b"mine"


def test_connection_error_names_url_and_target_path(tmp_path: Path) -> None:
    url = "https://localhost:1/a.bin"
    with pytest.raises(SystemFault) as caught:
        fetch_files("blobs", [source(url)], str(tmp_path))
    assert str(tmp_path / "blobs/raw/a.bin") in str(caught.value)
    assert url in str(caught.value)


def test_error_lists_all_files_without_url(tmp_path: Path) -> None:
    with pytest.raises(SystemFault) as caught:
        fetch_files("blobs", [source(None, "a"), source(None, "b")], str(tmp_path))
    assert {str(tmp_path / "blobs/a"), str(tmp_path / "blobs/b")} <= set(str(caught.value).split())


def test_http_not_found_raises(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SystemFault, match="Not Found"):
        fetch_files("blobs", [source(server.url("absent"))], str(tmp_path))


def test_plain_http_is_refused_directly_and_by_redirect(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redirected = server.url("to/" + server.url())
    assert fetch_files("blobs", [source(redirected)], str(tmp_path)).exists(), "the redirect itself works"
    monkeypatch.setattr(download, "ALLOWED_SCHEMES", ("https",))
    with pytest.raises(SystemFault, match="only https"):
        fetch_files("others", [source(server.url())], str(tmp_path))
    monkeypatch.setattr(download, "ALLOWED_SCHEMES", ("http",))
    with pytest.raises(SystemFault, match="cannot download from https://127"):
        fetch_files("others", [source(server.url("to/https://127.0.0.1:1/good"))], str(tmp_path))


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
def test_an_untrusted_certificate_is_refused(
    tls_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1"]
    name = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *kind, *name, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    tls_server.socket = context.wrap_socket(tls_server.socket, server_side=True)
    sources = [source(tls_server.url(scheme="https"))]
    with pytest.raises(SystemFault, match="CERTIFICATE_VERIFY_FAILED"):
        fetch_files("blobs", sources, str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch_files("blobs", sources, str(tmp_path)).exists(), "the certificate was all that was wrong"


def test_concurrent_fetches_download_once(server: Server, tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def fetch() -> None:
        try:
            fetch_files("blobs", [source(server.url())], str(tmp_path))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert server.ranges == [None]
    assert [p.name for p in (tmp_path / "blobs/raw").iterdir()] == ["a.bin"]


def test_complete_files_are_only_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "blobs/raw/a.bin"
    target.parent.mkdir(parents=True)
    target.write_bytes(CONTENT)
    modes: list[str] = []
    original_open = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode="r": modes.append(mode) or original_open(path, mode))
    monkeypatch.setattr(Path, "mkdir", None)
    assert fetch_files("blobs", [source(None)], str(tmp_path)) == tmp_path / "blobs"
    assert modes == ["rb"]


def test_data_root_is_argument_then_environment_then_cache(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [source(server.url())]
    assert fetch_files("blobs", sources, None) == tmp_path / "cache/train-zoo/blobs"
    (tmp_path / "environment").mkdir()
    (tmp_path / "argument").mkdir()
    monkeypatch.setenv("TRAIN_DATA", str(tmp_path / "environment"))
    assert fetch_files("blobs", sources, None) == tmp_path / "environment/blobs"
    assert fetch_files("blobs", sources, str(tmp_path / "argument")) == tmp_path / "argument/blobs"


def test_missing_data_root_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shared").mkdir()
    with pytest.raises(DataError, match=f"^data_dir: {tmp_path}/shard does not exist.*did you mean shared"):
        fetch_files("blobs", [source(None)], str(tmp_path / "shard"))
    monkeypatch.setenv("TRAIN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"^TRAIN_DATA: "):
        fetch_files("blobs", [source(None)], None)
