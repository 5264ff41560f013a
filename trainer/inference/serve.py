"""HTTP server of the model of a saved run: ``train serve``."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainer
from trainer.data.readers.skipped_rows import drop_skip_hint
from trainer.inference.request_batching import RequestBatcher, to_records
from trainer.inference.trained_model import TrainedModel
from trainer.utils.errors import ConfigError, SystemFault, UserError

if TYPE_CHECKING:
    from fastapi import FastAPI, Request, Response

MEGABYTE = 1 << 20
MAX_NAME_BYTES, MAX_SUFFIX_LENGTH = 255, 16
"""Limits of the name of an uploaded file, by which file systems refuse longer ones."""
JSON_TYPE, MULTIPART_TYPE = "application/json", "multipart/form-data"


def serve_model(model: TrainedModel, host: str, port: int, max_megabytes: float) -> None:
    """Serve a model until a signal arrives.

    Args:
        model: The model.
        host: Address to listen at.
        port: Port to listen at; 0 for any that is free.
        max_megabytes: Maximum size of the body of a request in MB.

    Raises:
        ConfigError: fastapi or uvicorn is not installed.
        SystemFault: The port is not free.
    """
    try:
        import fastapi  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise ConfigError(
            f"serve needs the package {error.name}; install it by: pip install 'train-zoo[serve]'"
        ) from None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        # It listens from now on: a request that arrives before the application runs waits instead of failing.
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise SystemFault(f"port: cannot listen at port {port} of {host}: {error.strerror}; choose another") from error
    config = uvicorn.Config(make_app(model, max_megabytes), log_level="warning")
    address = f"[{host}]" if ":" in host else host
    port = listener.getsockname()[1]
    print(f"serving on http://{address}:{port} (documentation at /docs); Ctrl-C stops", flush=True)
    # After a clean end, uvicorn raises the signal that asked for it again.
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        with suppress(KeyboardInterrupt, SystemExit):
            uvicorn.Server(config).run([listener])
    finally:
        signal.signal(signal.SIGTERM, previous)


def make_app(model: TrainedModel, max_megabytes: float = 32.0) -> FastAPI:
    """Return the web application of a model.

    Args:
        model: The model.
        max_megabytes: Maximum size of the body of a request in MB.
    """
    from fastapi import FastAPI, Request, Response

    batcher = RequestBatcher(model.predict_columns, independent=model.data.has_independent_rows)

    @asynccontextmanager
    async def run_batcher(_: FastAPI) -> AsyncIterator[None]:
        worker = asyncio.create_task(batcher.run())
        yield
        worker.cancel()
        with suppress(asyncio.CancelledError):
            await worker

    names = model.config.names
    title = f"{names['model']} trained on {names['data']}"
    app = FastAPI(title=title, version=trainer.__version__, lifespan=run_batcher)

    async def report_health() -> dict[str, str]:
        return {"status": "ok", "model": names["model"], "data": names["data"], "run": Path(model.config.run_dir).name}

    async def predict(request: Request) -> Response:
        return await _answer(request, partial(_predict_request, model, batcher), max_megabytes)

    # FastAPI would look up the names of postponed annotations in this module, which imports it only here.
    predict.__annotations__ |= {"request": Request, "return": Response}
    app.add_api_route("/health", report_health, summary="Whether the server answers")
    summary, body = "Predict rows, or the rows of a file", _describe_body(model)
    app.add_api_route("/predict", predict, methods=["POST"], summary=summary, openapi_extra=body)
    return app


async def _answer(
    request: Request, predict: Callable[[Request, bytes], Awaitable[list[dict[str, Any]]]], max_megabytes: float
) -> Response:
    """Return the predictions of a request, or its errors: 413 for its size, 422 for its rows, 503 for the machine."""
    from fastapi.responses import JSONResponse

    body = await _read_body(request, int(max_megabytes * MEGABYTE))
    if body is None:
        return JSONResponse({"detail": f"the body of a request has at most {max_megabytes:g} MB"}, 413)
    try:
        return JSONResponse({"predictions": await predict(request, body)})
    except SystemFault as error:
        return JSONResponse({"detail": str(error)}, 503)
    except UserError as error:
        return JSONResponse({"detail": drop_skip_hint(str(error))}, 422)


async def _read_body(request: Request, limit: int) -> bytes | None:
    """Return the body of a request; None if it is too large, without reading the rest."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return b"".join(parts)


async def _predict_request(
    model: TrainedModel, batcher: RequestBatcher, request: Request, body: bytes
) -> list[dict[str, Any]]:
    """Return the predictions of the rows in a request.

    Raises:
        ConfigError: The body is neither JSON rows nor a file, or its rows are invalid.
    """
    content_type = request.headers.get("content-type", JSON_TYPE).partition(";")[0].strip().lower()
    if content_type == MULTIPART_TYPE:
        return await _predict_file(model, request, body)
    if content_type != JSON_TYPE:
        raise ConfigError(f"content-type: {content_type} given; it must be {JSON_TYPE} or {MULTIPART_TYPE}")
    return await batcher.predict(_parse_rows(body))


def _parse_rows(body: bytes) -> list[Any]:
    """Return the rows of a JSON body, ``[...]`` or ``{"rows": [...]}``.

    Raises:
        ConfigError: It is not JSON, or has no rows.
    """
    import json

    def refuse_constant(text: str) -> float:
        raise ValueError(f"{text} is no JSON")

    try:
        rows = json.loads(body, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"body: not JSON: {error}") from None
    if isinstance(rows, Mapping):
        rows = rows.get("rows")
    if not isinstance(rows, list) or not rows:
        raise ConfigError('body: it must be a list of rows, or {"rows": [...]}')
    return rows


async def _predict_file(model: TrainedModel, request: Request, body: bytes) -> list[dict[str, Any]]:
    """Return the predictions of the rows of an uploaded file, named in messages as the client names it."""
    from fastapi import Request

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    form = await Request(request.scope, receive).form(max_files=1)
    try:
        file = next((value for value in form.values() if not isinstance(value, str)), None)
        if file is None:
            raise ConfigError("body: the form has no file")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, _make_file_name(file.filename or ""))
            path.write_bytes(await file.read())
            try:
                columns = await asyncio.get_running_loop().run_in_executor(None, model.predict_columns, path)
            except UserError as error:
                error.args = (str(error).replace(f"{folder}{os.sep}", ""),)
                raise
        return to_records(columns)
    finally:
        await form.close()


def _make_file_name(name: str) -> str:
    """Return a name for an uploaded file: that of the client, if it is one, or else one with its suffix."""
    base = name.replace("\0", "").replace("\\", "/").rpartition("/")[2]
    if base in ("", ".", "..") or len(base.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        return f"upload{Path(base).suffix[:MAX_SUFFIX_LENGTH]}"
    return base


def _describe_body(model: TrainedModel) -> dict[str, Any]:
    """Return the OpenAPI description of the body of a request, with the columns of the run."""
    row = model.data.row_schema()
    rows = {"type": "array", "items": row, "minItems": 1}
    file = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
    body = {"type": "object", "properties": {"rows": rows}, "required": ["rows"]}
    return {
        "requestBody": {
            "required": True,
            "content": {JSON_TYPE: {"schema": body}, MULTIPART_TYPE: {"schema": file}},
        }
    }
