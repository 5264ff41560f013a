"""Points of a search space as configurations: conditional keys, and problems before anything runs."""

from __future__ import annotations

import pytest

from trainer.config import search_points
from trainer.config.run_config import Config
from trainer.config.search_points import PointComposer
from trainer.config.search_space import parse_space
from trainer.utils.errors import ConfigError, IncompatibleError, UnknownNameError


def make(*words: str) -> PointComposer:
    return PointComposer(parse_space(words))


def test_point_has_only_the_keys_of_its_options() -> None:
    composer = make("model=lstm,mlp", "model.hidden_size=16,32", "model.hidden=[4],[8]", "batch_size=32,64")
    point = {"model": "lstm", "model.hidden_size": "16", "model.hidden": "[4]", "batch_size": "32"}
    assert composer.select_values(point) == {"model": "lstm", "model.hidden_size": "16", "batch_size": "32"}
    point["model"] = "mlp"
    selected = composer.select_values(point)
    assert selected == {"model": "mlp", "model.hidden": "[4]", "batch_size": "32"}
    assert composer.compose(selected).tree["model"]["hidden"] == [4]


def test_keys_depend_on_several_groups_and_on_classes() -> None:
    composer = make("optimizer=adam,sgd", "optimizer.momentum=0,0.9", "scheduler=none,step", "scheduler.gamma=0.1,0.5")
    point = {"optimizer": "adam", "optimizer.momentum": "0", "scheduler": "step", "scheduler.gamma": "0.1"}
    assert composer.select_values(point) == {"optimizer": "adam", "scheduler": "step", "scheduler.gamma": "0.1"}
    words = ("optimizer._target_=torch.optim.NAdam", "optimizer.momentum_decay=1e-3,1e-2")
    assert make(*words).select_values({"optimizer.momentum_decay": "1e-3"}) == {"optimizer.momentum_decay": "1e-3"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("model=lstm,mlp", "model.hiden_size=16,32"), "model.hiden_size: unknown key; did you mean model.hidden_size"),
        (("optimizer.lr=0.1,0.2", "epoch=3"), "epoch: unknown key; did you mean epochs"),
        (("model=lstm", "model.dropout=interval(0,2)"), "2.0 given; it must be a number >= 0 and <= 1"),
        (
            ("model=lstm", "model.hidden_size=interval(16,64)"),
            r"a whole number >= 1; model.hidden_size=int\(interval\(16,64\)\) draws whole numbers",
        ),
        (
            ("model=lstm", "batch_size=tag(log,interval(16,64))"),
            r"batch_size=tag\(log,int\(interval\(16,64\)\)\) draws",
        ),
        (("data=digits", "model=lstm,gru", "batch_size=1,2"), "model lstm needs"),
        (("optimizer.lr=a,b",), "'a' given; it must be a number"),
    ],
)
def test_corners_show_every_problem(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(*words).check_corners()


def test_unknown_option_of_all_points_is_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean lstm"):
        make("model=lstn", "batch_size=1,2")


def test_incompatible_points_are_no_errors() -> None:
    composer = make("model=lstm,mlp", "data=digits", "batch_size=32,64")
    composer.check_corners()
    lstm, mlp = composer.compose_all([{"model": "lstm", "batch_size": "32"}, {"model": "mlp", "batch_size": "32"}])
    assert isinstance(lstm, IncompatibleError)
    assert isinstance(mlp, Config)


def test_few_combinations_of_options_are_checked_in_advance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_points, "MAX_GROUP_CHOICES", 1)
    composer = make("model=lstm,mlp", "optimizer=adam,sgd,muon", "model.hidden=[4],[8]", "model.hidden_size=16,32")
    assert len(composer.group_choices) == 4
    point = {"model": "mlp", "optimizer": "muon", "model.hidden": "[4]", "model.hidden_size": "16"}
    assert composer.select_values(point) == {"model": "mlp", "optimizer": "muon", "model.hidden": "[4]"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("match=seconds", "target=2ms"), r"^match: seconds gives other widths each time it is measured"),
        (("resume=outputs/run",), r"^resume: 'outputs/run' names one run; resume=auto continues a search$"),
        (("members=4",), r"^members: 4 given, but each run of a search"),
    ],
)
def test_keys_that_a_search_cannot_use_are_refused_before_points_are_drawn(
    words: tuple[str, ...], expected: str
) -> None:
    composer = PointComposer(parse_space(["model=mlp", "data=moons", "optimizer.lr=0.1,0.2", *words]))
    with pytest.raises(ConfigError, match=expected):
        composer.check_corners()


def test_options_that_are_scored_by_different_metrics_are_refused() -> None:
    """A model may choose its task: accuracy and log-likelihood would be ranked against each other."""
    composer = PointComposer(parse_space(["data=moons", "model=mlp,real_nvp", "optimizer.lr=0.1,0.2"]))
    expected = r"^model=mlp has task classification; model=real_nvp has task density: scores of different metrics"
    with pytest.raises(ConfigError, match=expected):
        composer.check_corners()
    PointComposer(parse_space(["data=ring", "model=gan,wgan_gp", "optimizer.lr=0.1,0.2"])).check_corners()
