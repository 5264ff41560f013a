"""Finished runs below a folder, told apart by what they were configured to be and not by how that was written."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import yaml

from trainer.config import migrations, yaml_limits
from trainer.config.compose import NEUTRAL
from trainer.runs import results as result
from trainer.runs import run_dir
from trainer.utils.errors import ConfigError

log = logging.getLogger(__name__)

NEEDED = {"monitor", "val", "test", "baseline", "best_possible", "overrides", "data", "model", "params", "seconds"}
"""What a file of results must hold to be one of ours."""
REPEATED = ("seed", "data.fold")
"""Keys in which the runs of one row differ."""
SOURCES = ("name", "path", "test_path", "source", "target")
"""Options of data that say which rows there are and what is learned of them."""
PATHS = ("data.path", "data.test_path")
DIGEST_LETTERS = 8
"""Of a digest, as it is shown."""


@dataclass(frozen=True)
class Run:
    """The results of a run, and its configuration by dotted key. order: when it ended."""

    results: Mapping[str, Any]
    config: Mapping[str, Any]
    order: int

    @property
    def monitor(self) -> str:
        return str(self.results["monitor"])

    @cached_property
    def given(self) -> dict[str, Any]:
        """The overrides that it was started with, the last of each key."""
        pairs = (text.lstrip("+~").partition("=") for text in self.results["overrides"])
        return {key: _parsed(value) for key, _, value in pairs}

    def value(self, key: str) -> Any:
        """Of a key, or the option that was chosen of a group."""
        for known in (self.config, self.results.get("options", {}), self.given):
            if key in known:
                return known[key]
        return None

    @property
    def digest(self) -> str:
        """Of the contents of the user's own files; empty where there are none, or the run does not say."""
        return str(self.results.get("data_digest") or "")

    @cached_property
    def setting(self) -> str:
        """All that decides what is trained but the seed and the fold."""
        kept = {key: value for key, value in self.config.items() if not is_neutral(key) and key not in REPEATED}
        options = sorted((k, canonical(v)) for k, v in kept.items())
        return repr((self.results["model"], self.results["data"], self.digest, options))

    @cached_property
    def data(self) -> dict[str, Any]:
        """The options of its data, but the fold."""
        return {
            key: value
            for key, value in self.config.items()
            if key.startswith("data.") and key not in REPEATED and not is_neutral(key)
        }

    @property
    def repetition(self) -> tuple[str, str]:
        """Which of the runs of one setting it is."""
        seed = self.value("seed")
        return str(self.results.get("seed") if seed is None else seed), str(self.value("data.fold"))


def is_neutral(key: str) -> bool:
    """Whether a key does not tell two settings apart, or has a column of its own."""
    return key in ("model", "data") or key.startswith("hydra") or key.split(".")[-1] in NEUTRAL


def read_runs(path: Path) -> list[Run]:
    """The finished runs below a folder that have scores, oldest name first.

    A score that was never a number chose no weights: there is nothing to compare. Classifiers that runs trained for
    themselves are nobody's runs.
    """
    files = {file.resolve(): file for file in sorted(path.glob(f"**/{run_dir.RESULTS}"))}
    found = []
    for file in files.values():
        results = run_dir.read_results(file.parent)
        if results.get("status") != "finished" or not results.keys() >= NEEDED:
            continue
        wrong = result.wrong_types(results)
        if wrong:
            log.warning("%s is left out: %s", file, wrong[0])
        elif _is_scored(results):
            is_helper = file.parent.parent.name == run_dir.CLASSIFIERS and not results["overrides"]
            if not is_helper:
                found.append(Run(results, _configuration(file.parent, results), file.stat().st_mtime_ns))
    return found


def _is_scored(results: Mapping[str, Any]) -> bool:
    """Whether the monitored score is there."""
    return all(results["monitor"] in results[split] for split in ("val", "test"))


def _configuration(path: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's own file says; of a folder that lost it, what the overrides say."""
    try:
        read = _load(yaml_limits.read(path / run_dir.CONFIG))
    except ConfigError:
        read = None
    if isinstance(read, dict):
        version = read.pop(migrations.KEY, 1)
        read = migrations.migrate_config(read, version) if isinstance(version, int) else read
        found = dict(_flat(read, ""))
    else:
        pairs = (str(text).lstrip("+~").partition("=") for text in results["overrides"])
        found = {key: _parsed(value) for key, _, value in pairs if not key.startswith("hydra")}
    paths = {key: os.path.relpath(found[key]) for key in PATHS if isinstance(found.get(key), str) and found[key]}
    return found | paths


def _flat(node: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class _Loader(yaml.SafeLoader):
    """Reads a date as the text that it is to Hydra, and no year 0 as a mistake."""

    yaml_implicit_resolvers: ClassVar = {
        first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _load(text: str) -> Any:
    """The value of a YAML text. Raises ConfigError for one that stands for none, or for more than is sane."""
    yaml_limits.check_text(text, "a value")
    try:
        found = _Loader(text).get_single_data()
        repr(found)  # Python refuses to print a whole number of thousands of digits
    except (yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:  # of a tag, as !!bool x
        raise ConfigError(f"not YAML: {error}") from error
    return found


def _parsed(text: str) -> Any:
    """The value of an override; its text where it has none that YAML knows."""
    try:
        return _load(text)
    except ConfigError:
        return text


def by_setting(runs: Iterable[Run]) -> list[list[Run]]:
    """Runs of one setting together; of those that were run again, seed and all, only the newest."""
    groups: dict[tuple[str, str], dict[tuple[str, str], Run]] = {}
    for run in sorted(runs, key=lambda run: run.order):
        groups.setdefault((run.setting, run.monitor), {})[run.repetition] = run
    return [list(group.values()) for group in groups.values()]


def by_data(groups: Iterable[list[Run]]) -> list[tuple[str, list[list[Run]]]]:
    """Settings whose scores are of the same rows together, each with what the data is called.

    Files of the same name that held something else when a run read them are other data. Options of the data that leave
    the baseline and the best possible score as they are, change how rows are read and not which there are.
    """
    found: dict[tuple[str, ...], list[list[Run]]] = {}
    for group in groups:
        first = group[0]
        sources = [f"{name}={first.data[f'data.{name}']}" for name in SOURCES if first.data.get(f"data.{name}")]
        found.setdefault((str(first.results["data"]), first.monitor, *sources), []).append(group)
    return [
        (_titled(key[0], [*key[2:], *contents], options), part)
        for key, named_alike in found.items()
        for contents, same in _by_contents(named_alike)
        for options, part in _by_reference(same, key[1])
    ]


def _by_contents(groups: Sequence[list[Run]]) -> list[tuple[list[str], list[list[Run]]]]:
    """Parts of one source that were read from the same contents, with the digest where there are several."""
    parts: dict[str, list[list[Run]]] = {}
    for group in groups:
        parts.setdefault(group[0].digest, []).append(group)
    return [
        ([f"contents {digest[:DIGEST_LETTERS] or 'unknown'}"] if len(parts) > 1 else [], part)
        for digest, part in parts.items()
    ]


def _by_reference(groups: Sequence[list[Run]], monitor: str) -> list[tuple[list[str], list[list[Run]]]]:
    """Parts of one source whose rows are not the same, each with the options of the data that make the difference."""
    by_options: dict[str, list[list[Run]]] = {}
    for group in groups:
        by_options.setdefault(repr(sorted((k, canonical(v)) for k, v in group[0].data.items())), []).append(group)
    parts: dict[tuple[str, ...], list[list[Run]]] = {}
    for same in by_options.values():
        runs = same[0]
        scores = (mean_of(runs, which, monitor) for which in ("baseline", "best_possible"))
        parts.setdefault(tuple("" if score is None else f"{score:.9g}" for score in scores), []).extend(same)
    # Where not all have a score to compare, nothing is known of a difference.
    if len(parts) == 1 or ("", "") in parts:
        return [([], list(groups))]
    leaders = [part[0][0] for part in parts.values()]
    keys = differing([[run] for run in leaders], [key for run in leaders for key in run.data])
    return [
        ([f"{key.removeprefix('data.')}={text_of(part[0][0].value(key))}" for key in keys], part)
        for part in parts.values()
    ]


def _titled(name: str, sources: Sequence[str], options: Sequence[str]) -> str:
    inside = ", ".join([*sources, *options])
    return f"{name} ({inside})" if inside else name


def differing(groups: Sequence[list[Run]], keys: Iterable[str]) -> list[str]:
    """Those of some keys in which settings differ, in order."""
    return [key for key in dict.fromkeys(keys) if len({canonical(group[0].value(key)) for group in groups}) > 1]


def labels(groups: Sequence[list[Run]]) -> list[str]:
    """What tells each of some settings from the others, of what somebody set; or, of one alone, all that was set."""
    given = [key for group in groups for run in group for key in run.given if _tells(key)]
    keys = differing(groups, given) if len(groups) > 1 else list(dict.fromkeys(given))
    found = [_label(group[0], keys) for group in groups]
    for name in {str(group[0].results["model"]) for group in groups}:
        places = [place for place, group in enumerate(groups) if group[0].results["model"] == name]
        if len({found[place] for place in places}) < len(places):
            # Not in what was set on the command line: in a YAML file, or in what a default was then.
            every = [key for place in places for key in groups[place][0].config if _tells(key)]
            more = differing([groups[place] for place in places], every)
            for place in places:
                found[place] = _label(groups[place][0], list(dict.fromkeys([*keys, *more])))
    return found


def _tells(key: str) -> bool:
    """Whether a key has a place in a label: not what the runs of a row, or the rows of a table, have in common."""
    return not is_neutral(key) and key not in REPEATED and key not in {f"data.{name}" for name in SOURCES}


def _label(run: Run, keys: Iterable[str]) -> str:
    known = [key for key in keys if key in run.config or run.value(key) is not None]
    return " ".join(f"{key}={text_of(run.value(key))}" for key in known)


def canonical(value: object) -> str:
    """The same text for 1 and 1.0."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return repr(float(value)) if is_number and abs(value) < 2**53 else repr(value)  # type: ignore[arg-type]


def text_of(value: object) -> str:
    """A value as it would be given on a command line."""
    if isinstance(value, list):
        return f"[{','.join(map(text_of, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def mean_of(runs: Iterable[Run], which: str, name: str) -> float | None:
    """Of those runs that have the score; folds have baselines of their own."""
    scores = [run.results[which].get(name) for run in runs]
    known = [score for score in scores if isinstance(score, float | int)]
    return sum(known) / len(known) if known else None
