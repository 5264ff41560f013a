"""Commands in processes that are forked from one that has loaded the libraries, which is most of their time.

For each command the client sends a connection with arguments and working folder, stdout and stderr; through the
connection it receives the process id and then the exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).parents[2]
LIBRARIES = ("torch", "torch.distributed", "torch_geometric", "hydra", "rich.console", "sklearn.metrics")
LIBRARIES += ("matplotlib.pyplot", "matplotlib.backends.backend_agg")
NUMBER = struct.Struct("!i")


class CommandServer:
    """Client of a server process, which ends with this one.

    Args:
        env: Environment of the commands.
    """

    def __init__(self, env: Mapping[str, str]):
        self.env = dict(env)
        self._control, control = socket.socketpair()
        with control:
            code = f"from tests.helpers import command_server; command_server.serve({control.fileno()})"
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], cwd=ROOT, env=self.env, pass_fds=[control.fileno()]
            )

    def close(self) -> None:
        """End the server."""
        self._control.close()
        self._process.wait()

    def run(self, argv: Sequence[str], cwd: Path, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a command to its end.

        Args:
            argv: Path of the console script, and its arguments.
            cwd: Working folder.
            timeout: Seconds after which the command is killed.

        Raises:
            subprocess.TimeoutExpired: It was killed.
        """
        connection, other_end = socket.socketpair()
        with (
            connection,
            other_end,
            tempfile.TemporaryFile("w+", encoding="utf-8") as stdout,
            tempfile.TemporaryFile("w+", encoding="utf-8") as stderr,
        ):
            request = json.dumps({"argv": list(argv), "cwd": str(cwd.resolve())}).encode()
            fds = [each.fileno() for each in (other_end, stdout, stderr)]
            socket.send_fds(self._control, [b"."], fds)
            other_end.close()
            connection.sendall(NUMBER.pack(len(request)) + request)
            connection.settimeout(timeout)
            pid = _receive_number(connection)
            try:
                code = _receive_number(connection)
            except TimeoutError:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(argv, timeout) from None
            outputs = [(stream.seek(0), stream.read())[1] for stream in (stdout, stderr)]
        return subprocess.CompletedProcess(list(argv), code, *outputs)


def serve(control: int) -> None:
    """Fork a process for each command; only those return.

    Args:
        control: File descriptor of the socket that receives the connections.
    """
    for name in LIBRARIES:
        importlib.import_module(name)
    with socket.socket(fileno=control) as server:
        while True:
            message, fds, _, _ = socket.recv_fds(server, 1, 3)
            if not message:
                os._exit(0)  # the client has ended
            if not os.fork():
                break
            for fd in fds:
                os.close(fd)
            while _reap():
                pass
    with socket.socket(fileno=fds[0]) as connection:
        size = _receive_number(connection)
        request = json.loads(connection.recv(size, socket.MSG_WAITALL))
        if command := os.fork():
            _report(connection, command)
    run_command(request["argv"], request["cwd"], fds[1:])


def _report(connection: socket.socket, command: int) -> NoReturn:
    """Send the id and the exit status of a child, for which the client may no longer wait."""
    with suppress(BrokenPipeError):
        connection.sendall(NUMBER.pack(command))
        connection.sendall(NUMBER.pack(os.waitstatus_to_exitcode(os.waitpid(command, 0)[1])))
    os._exit(0)


def run_command(argv: list[str], cwd: str, fds: Sequence[int]) -> NoReturn:
    """Become the console script."""
    for target, fd in enumerate(fds, start=1):
        os.dup2(fd, target)
        os.close(fd)
    os.chdir(cwd)
    sys.argv = argv
    sys.path[0] = str(Path(argv[0]).parent)  # not the working folder
    from trainer.cli.main import main

    main()
    raise AssertionError("it exits")


def _reap() -> int:
    try:
        return os.waitpid(-1, os.WNOHANG)[0]
    except ChildProcessError:
        return 0


def _receive_number(connection: socket.socket) -> int:
    message = connection.recv(NUMBER.size, socket.MSG_WAITALL)
    assert len(message) == NUMBER.size, "the other process has ended, see stderr"
    return int(NUMBER.unpack(message)[0])
