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
from trainer.data.readers.download import Source, fetch_files, missing_file_error
from trainer.utils.errors import DataError, SystemFault

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT, and notes every request's range."""

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
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        if self.path != "/good":
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.resumes else 0
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
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def server(tls_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The loopback server over plain http, which users are refused."""
    monkeypatch.setattr(download, "ALLOWED_SCHEMES", ("https", "http"))
    return tls_server


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
def test_a_part_that_cannot_be_continued_is_replaced(server: Server, tmp_path: Path, resumes: bool) -> None:
    """Too long for the server that resumes (416); ignored by the one that does not (200)."""
    server.resumes = resumes
    (tmp_path / "blobs/raw").mkdir(parents=True)
    (tmp_path / "blobs/raw/a.bin.part").write_bytes(CONTENT + b"more")
    folder = fetch_files("blobs", [source(server.url())], str(tmp_path))
    assert (folder / "raw/a.bin").read_bytes() == CONTENT


def test_tampered_downloads_are_never_moved_into_place(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(SystemFault, match=f"{SHA256[:12]}.*expected.*removed") as caught:
        fetch_files("blobs", [source(server.url())], str(tmp_path))
    assert caught.value.exit_code == 4
    assert hashlib.sha256(server.content).hexdigest()[:12] in str(caught.value)
    assert list((tmp_path / "blobs/raw").iterdir()) == []


def test_a_user_file_with_another_checksum_is_refused_and_kept(tmp_path: Path) -> None:
    place = tmp_path / "blobs/raw/a.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"mine")
    with pytest.raises(SystemFault, match=f"{place} has a wrong checksum.*move it away"):
        fetch_files("blobs", [source("https://example.invalid/a")], str(tmp_path))
    assert place.read_bytes() == b"mine"


def test_without_network_the_error_names_the_files_and_their_place(tmp_path: Path) -> None:
    url = "https://localhost:1/a.bin"
    with pytest.raises(SystemFault) as caught:
        fetch_files("blobs", [source(url)], str(tmp_path))
    assert str(tmp_path / "blobs/raw/a.bin") in str(caught.value)
    assert url in str(caught.value)


def test_files_that_may_not_be_downloaded_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(SystemFault) as caught:
        fetch_files("blobs", [source(None, "a"), source(None, "b")], str(tmp_path))
    assert {str(tmp_path / "blobs/a"), str(tmp_path / "blobs/b")} <= set(str(caught.value).split())


def test_an_answer_that_is_no_file(server: Server, tmp_path: Path) -> None:
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
    wanted = [source(tls_server.url(scheme="https"))]
    with pytest.raises(SystemFault, match="CERTIFICATE_VERIFY_FAILED"):
        fetch_files("blobs", wanted, str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert fetch_files("blobs", wanted, str(tmp_path)).exists(), "the certificate was all that was wrong"


def test_neighbors_that_want_the_same_file(server: Server, tmp_path: Path) -> None:
    faults: list[BaseException] = []

    def one() -> None:
        try:
            fetch_files("blobs", [source(server.url())], str(tmp_path))
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert server.ranges == [None]
    assert [p.name for p in (tmp_path / "blobs/raw").iterdir()] == ["a.bin"]


def test_with_everything_in_place_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "blobs/raw/a.bin"
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT)
    opened: list[str] = []
    plain = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode="r": opened.append(mode) or plain(path, mode))
    monkeypatch.setattr(Path, "mkdir", None)
    assert fetch_files("blobs", [source(None)], str(tmp_path)) == tmp_path / "blobs"
    assert opened == ["rb"]


def test_the_root_is_data_dir_then_the_environment_then_the_cache(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [source(server.url())]
    assert fetch_files("blobs", wanted, None) == tmp_path / "cache/train-zoo/blobs"
    (tmp_path / "environment").mkdir()
    (tmp_path / "given").mkdir()
    monkeypatch.setenv("TRAIN_DATA", str(tmp_path / "environment"))
    assert fetch_files("blobs", wanted, None) == tmp_path / "environment/blobs"
    assert fetch_files("blobs", wanted, str(tmp_path / "given")) == tmp_path / "given/blobs"


def test_a_root_that_does_not_exist_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shared").mkdir()
    with pytest.raises(DataError, match=f"^data_dir: {tmp_path}/shard does not exist.*did you mean shared"):
        fetch_files("blobs", [source(None)], str(tmp_path / "shard"))
    monkeypatch.setenv("TRAIN_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match=r"^TRAIN_DATA: "):
        fetch_files("blobs", [source(None)], None)


def test_a_missing_user_file_is_reported_with_its_context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.csv").touch()
    monkeypatch.chdir(tmp_path)
    message = str(missing_file_error("tabel.csv"))
    assert message.startswith(f"path: {tmp_path}/tabel.csv does not exist")
    assert "did you mean table.csv" in message
    assert f"deep/er/x.csv does not exist; the nearest directory that exists is {tmp_path}" in str(
        missing_file_error(tmp_path / "deep/er/x.csv")
    )
