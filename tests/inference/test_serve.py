"""Tests of ``train serve``."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import trainer
from tests.helpers.own_runs import train_run
from trainer.cli import main
from trainer.inference import serve
from trainer.inference.trained_model import TrainedModel
from trainer.utils.errors import ConfigError, SystemFault


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        train_run("csv").rename("run")
        next(path.glob("files/*.csv")).rename("rows.csv")
    return path


@pytest.fixture(scope="module")
def model(folder: Path) -> TrainedModel:
    return trainer.load(folder / "run")


@pytest.fixture(scope="module")
def client(model: TrainedModel) -> Iterator[Any]:
    from starlette.testclient import TestClient

    with TestClient(serve.make_app(model, max_megabytes=0.1)) as test_client:
        yield test_client


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "rows.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))[:5]


@pytest.mark.slow
def test_json_rows_have_the_predictions_of_the_file(
    client: Any, model: TrainedModel, folder: Path, rows: list[dict[str, str]]
) -> None:
    expected = model.predict(folder / "rows.csv").tolist()[:5]
    for body in (rows, {"rows": rows}):
        response = client.post("/predict", json=body)
        assert response.status_code == 200
        assert [row["label"] for row in response.json()["predictions"]] == expected


def test_uploaded_file_is_predicted(client: Any, model: TrainedModel, folder: Path) -> None:
    response = client.post("/predict", files={"file": ("rows.csv", (folder / "rows.csv").read_bytes())})
    labels = [row["label"] for row in response.json()["predictions"]]
    assert labels == model.predict(folder / "rows.csv").tolist()


def test_invalid_rows_have_the_message_of_the_command(
    client: Any, folder: Path, tmp_path: Path, rows: list[dict[str, str]]
) -> None:
    missing = next(iter(rows[0]))
    file = tmp_path / "bad.csv"
    file.write_text(
        "".join(f"{line}\n" for line in (",".join(list(rows[0])[1:]), ",".join(list(rows[0].values())[1:])))
    )
    with pytest.raises(ConfigError) as error:
        main.run_command(["predict", str(folder / "run"), f"input={file}", f"output={tmp_path / 'x.csv'}"])
    response = client.post("/predict", files={"file": ("bad.csv", file.read_bytes())})
    assert response.status_code == 422
    assert missing in response.json()["detail"]
    assert response.json()["detail"] == str(error.value).replace(f"{tmp_path}{os.sep}", "")
    response = client.post("/predict", json=[{key: value for key, value in rows[0].items() if key != missing}])
    assert response.status_code == 422
    assert missing in response.json()["detail"]


def test_message_names_no_option_that_a_request_lacks(
    client: Any, model: TrainedModel, rows: list[dict[str, str]]
) -> None:
    columns = model.data.row_schema()["properties"]
    number = next(name for name, column in columns.items() if column["type"] == "number")
    text = "\n".join(",".join(cells) for cells in (rows[0], {**rows[0], number: "many"}.values()))
    detail = client.post("/predict", files={"file": ("bad.csv", text)}).json()["detail"]
    assert f"column '{number}': 'many' is not" in detail
    assert "on_error" not in detail


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"{", "not JSON"), (b"[]", "list of rows"), (b'{"row": 1}', "list of rows"), (b"[NaN]", "NaN is no JSON")],
)
def test_body_without_rows_is_refused(client: Any, body: bytes, message: str) -> None:
    response = client.post("/predict", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert message in response.json()["detail"]


def test_large_body_and_other_types_are_refused(client: Any) -> None:
    headers = {"content-type": "application/json"}
    assert client.post("/predict", content=b" " * 200_000, headers=headers).status_code == 413
    response = client.post("/predict", content=b"x", headers={"content-type": "text/plain"})
    assert "content-type: text/plain given" in response.json()["detail"]


def test_documentation_has_the_columns_of_the_run(client: Any, rows: list[dict[str, str]], model: TrainedModel) -> None:
    assert client.get("/docs").status_code == 200
    text = json.dumps(client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"])
    columns = model.data.row_schema()["properties"]
    assert all(f'"{name}"' in text for name in columns)
    assert {*columns} < {*rows[0]}  # without the target
    assert client.get("/health").json()["status"] == "ok"


def test_port_in_use_is_reported(model: TrainedModel) -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        with pytest.raises(SystemFault, match=r"port: cannot listen at port \d+ of 127\.0\.0\.1: "):
            serve.serve_model(model, "127.0.0.1", busy.getsockname()[1], 1.0)


@pytest.mark.slow
def test_server_stops_cleanly_on_sigterm(folder: Path, rows: list[dict[str, str]]) -> None:
    command = [sys.executable, "-m", "trainer", "serve", "run", "port=0"]
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=folder, **pipes) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert address is not None
            headers = {"content-type": "application/json"}
            request = urllib.request.Request(f"{address[0]}/predict", json.dumps(rows).encode(), headers)
            with urllib.request.urlopen(request, timeout=60) as response:
                assert len(json.load(response)["predictions"]) == len(rows)
            process.send_signal(signal.SIGTERM)
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, output, errors) == (0, "", "")


@pytest.mark.parametrize(
    "name", ["..", ".", "../../rows.csv", "/rows.csv", "\\rows.csv", f"{'a' * 300}.csv", "r\0ws.csv"]
)
def test_name_of_an_uploaded_file_is_no_path(client: Any, folder: Path, name: str) -> None:
    body = (folder / "rows.csv").read_bytes()
    content = f'--b\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    response = client.post(
        "/predict",
        content=content + body + b"\r\n--b--\r\n",
        headers={"content-type": "multipart/form-data; boundary=b"},
    )
    assert response.status_code == 200, response.text
    assert len(response.json()["predictions"]) == body.count(b"\n") - 1
