"""``hydra/launcher=ray`` on a cluster of two nodes, of which one dies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import sweeps
from tests.helpers.commands import SMALL, start, train
from tests.helpers.held_runs import HOLD, HeldRun

pytest.importorskip("ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux"),
]

NODE = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
RUN = (*SMALL[:3], "epochs=9", "save_every=0", "draw=false", "threads=1", "seed=0,1,2", "resume=auto")
COMMAND = ("-m", *RUN, "hydra.sweep.dir=outputs/sweep", "hydra/launcher=ray")


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


def test_jobs_of_a_node_that_dies_fail_alone_and_continue_later(cluster: Any, tmp_path: Path) -> None:
    second = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    command = (*COMMAND, *HOLD, f"hydra.launcher.address={cluster.address}")
    jobs = [HeldRun(tmp_path, seed) for seed in range(3)]
    process = start(*command, cwd=tmp_path)
    root = tmp_path / "outputs/sweep"
    # Each node has one core: two jobs at a time need both.
    sweeps.wait_until(lambda: sum(job.is_held() for job in jobs) == 2, process)
    cluster.remove_node(second, allow_graceful=False)
    sweeps.wait_until(lambda: any(job.has_died() for job in jobs), process)  # its jobs outlive the node for a moment
    for job in jobs:
        job.release()
    stdout, stderr = process.communicate(timeout=180)
    assert process.returncode == 1, stdout + stderr
    failed = [line for line in stderr.splitlines() if line.startswith("failed")]
    assert len(failed) == 1
    assert ": Ray: " in failed[0]
    assert sweeps.count_finished(root) == 2
    done = train(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sweeps.list_statuses(root) == ["finished"] * 3
    name = failed[0].split(": ")[1]
    assert "from step" in (root / f"{name}.out").read_text()
    assert sorted(sweeps.list_attempts(root).values()) == [1, 1, 2]


def test_a_cluster_that_does_not_exist_is_told(tmp_path: Path) -> None:
    done = train(*COMMAND, "hydra.launcher.address=127.0.0.1:1", cwd=tmp_path)
    assert done.returncode == 4
    assert "hydra.launcher.address: no Ray cluster at 127.0.0.1:1" in done.stderr
    assert not (tmp_path / "outputs").exists()
