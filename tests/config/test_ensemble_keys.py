"""The key ``ensemble``: what cannot be one, the identity of runs without it, and the configuration of a member."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.commands import SMALL
from trainer.config import compose, ensemble_keys, plugins
from trainer.config.run_config import Config
from trainer.config.search_points import PointComposer
from trainer.config.search_space import parse_space
from trainer.utils.errors import ConfigError

SMALL_IDENTITY = "6aec035cbeb2fd78"
"""Identity of a run of ``SMALL`` before there were ensembles."""


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ("model=gan", "data=ring"),
            "ensemble: Adversarial has no predictions that can be averaged; the tasks",
        ),
        (("model=vae", "data=digits"), "ensemble: VariationalInference has no predictions that can be averaged"),
        ((*SMALL[:3], "budget=3s"), "budget: it is the time of one run, and an ensemble trains 2"),
        ((*SMALL, "devices=2"), "devices: the members of an ensemble are trained by one process each"),
        ((*SMALL, "debug=overfit"), "debug=overfit: it checks one model"),
    ],
)
def test_what_cannot_be_an_ensemble_is_refused_by_its_key(words: tuple[str, ...], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose.compose([*words, "ensemble=2"], is_single_run=True)
    assert [text for text in caught.value.problems if text.startswith(problem)]


@pytest.mark.parametrize("value", ["0", "1.5", "many", "1001"])
def test_the_number_of_members_is_checked(value: str) -> None:
    with pytest.raises(ConfigError, match=f"^ensemble: '?{value}'? given"):
        compose.compose([*SMALL, f"ensemble={value}"])


@pytest.mark.parametrize(
    ("methods", "can_average"),
    [
        (("predict", "average_outputs"), True),
        (("predict",), False),
        (("average_outputs",), False),
    ],
)
def test_a_task_of_a_plugin_needs_both_methods(
    methods: tuple[str, ...], can_average: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [f"    def {name}(self, outputs): return outputs" for name in methods]
    (tmp_path / "own_task.py").write_text("\n".join(["import trainer", "class Own(trainer.Task):", *lines]) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins.declare_plugins(["own_task"], tmp_path)
    try:
        assert ensemble_keys.can_average("own_task.Own") is can_average
    finally:
        plugins.declare_plugins([])


def test_a_search_of_ensembles_is_refused_before_it_starts() -> None:
    composer = PointComposer(parse_space([*SMALL, "ensemble=2", "optimizer.lr=0.1,0.2"]))
    with pytest.raises(ConfigError, match="ensemble: 2 given, but this command trains one model at a time; train an"):
        composer.check_corners()


def test_runs_without_an_ensemble_keep_their_identity() -> None:
    assert compose.compose([*SMALL]).config_hash == SMALL_IDENTITY
    assert compose.compose([*SMALL, "ensemble=2"]).config_hash != SMALL_IDENTITY


def make_member(number: int, *words: str) -> Config:
    return ensemble_keys.make_member_config(compose.compose([*SMALL, *words]), number, "member")


def test_a_member_is_the_run_of_its_seed() -> None:
    member = make_member(1, "ensemble=3", "resume=auto", "hydra.run.dir=outputs/here")
    alone = compose.compose([*SMALL, "seed=1"])
    assert member.config_hash == alone.config_hash
    assert (member.overrides, member.run_dir) == (alone.overrides, "member")
    assert (member.settings, member.raw) == (alone.settings, alone.raw)


def test_ensembles_with_different_seeds_share_no_member() -> None:
    seeds = [make_member(number, "ensemble=3", f"seed={seed}").settings.seed for seed in (0, 1) for number in range(3)]
    assert seeds == [*range(6)]
