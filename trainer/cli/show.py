"""The subcommands ``list`` and ``show``: options, their keys and meanings, augmented images, layers of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.cli import argv
from trainer.cli.text_columns import print_table, print_text
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

if TYPE_CHECKING:
    from trainer.config.registry import ConfigOption


def list_options(arguments: Sequence[str]) -> int:
    """Run ``train list``: one line for each option."""
    from trainer.config import registry

    plural = {"models": "model", "tasks": "task", "optimizers": "optimizer", "schedulers": "scheduler"}
    plural |= {"experiments": "experiment", "data": "data", "loggers": "logger"} | {
        group: group for group in registry.GROUPS
    }
    wanted = []
    words, folders, _ = argv.split_args(arguments)
    for word in words:
        if word not in plural:
            ways = [
                f"train show {group}={word}"
                for group in registry.GROUPS
                if word in registry.list_options(group, folders)
            ]
            near = f"; show it by: {' or '.join(ways)};" if ways else did_you_mean(word, plural) or ";"
            raise ConfigError(f"train list {word}: unknown{near} one of {', '.join(plural)}")
        wanted.append(plural[word])
    for group in wanted or registry.GROUPS:
        options = registry.list_options(group, folders).values()
        if not options:
            continue
        rows = [(option.name, option.task_name or "", option.shapes_line, option.description) for option in options]
        titles = (group.upper(), "TASK", "SHAPES", "")
        print_table([titles, *rows] if group in ("model", "data") else [(r[0], "", "", r[3]) for r in [titles, *rows]])
    return 0


def show_details(arguments: Sequence[str]) -> int:
    """Run ``train show``: keys with type, default and meaning; augmented images of a data set; the layers of a run."""
    from trainer.config import plugins, registry
    from trainer.runs import run_dir

    words, folders, _ = argv.split_args(arguments)
    if any(word.startswith("samples=") for word in words):
        return _show_samples(words, folders)
    if words and run_dir.is_path(words[0]):
        return _show_run(words)
    named, modules = plugins.split_plugin_args(words)
    if modules:
        plugins.declare_plugins(modules)
    if not named:
        from typing import get_type_hints

        from trainer.config.defaults_list import get_builtin_dir
        from trainer.config.schema import Settings

        path = get_builtin_dir() / "train.yaml"
        _print_keys(registry.ConfigOption("", "train", path), get_type_hints(Settings, include_extras=True))
        return 0
    for word in named:
        _show_option(word, folders)
    return 0


def _show_option(word: str, folders: Sequence[Path]) -> None:
    """Print the class and the keys of an option, given as ``group=name``, and what it sets besides."""
    from trainer.config import compatibility, introspection, option_keys, registry, torch_classes, validation

    group, _, name = word.partition("=")
    if group not in registry.GROUPS:
        near = did_you_mean(group, registry.GROUPS)
        raise ConfigError(f"train show {word}: {group!r} is no group{near or ';'} one of {', '.join(registry.GROUPS)}")
    options = registry.list_options(group, folders)
    if name not in options:
        raise ConfigError(registry.describe_unknown_option(group, name, options))
    option = options[name]
    if option.problem:
        raise ConfigError(option.problem)
    found = introspection.read_signature(option.class_path) if option.class_path else None
    print_text(f"{group}={name}: {option.description}")
    if found and torch_classes.is_torch_class(option.class_path or ""):
        print_text(f"The class is {option.class_path}.")
    elif found:
        print_text("\n\n".join(part for part in (found.shapes, found.doc) if part))
    keys = option_keys.read_keys(group, option.class_path) if option.class_path else None
    entry = f"{name}." if group in validation.LIST_GROUPS else ""
    _print_keys(option, {key: parameter.kind for key, parameter in (keys or {}).items()}, f"{group}.{entry}")
    if elsewhere := option.other_overrides():
        print_table([("SETS AS WELL", "TO", ""), *elsewhere])
    if group == "data" and option.class_path and compatibility.non_image_inputs(option.class_path) is None:
        print_text(f"train show {word} augment=NAME samples=8 draws training rows as the first epochs see them")


def _show_samples(words: Sequence[str], folders: Sequence[Path]) -> int:
    from trainer.config import compatibility, compose, validation

    given = dict(word.partition("=")[::2] for word in words)
    if not given["samples"].isdecimal() or not int(given["samples"]):
        raise ConfigError(f"samples: {given['samples']!r} given; it must be a whole number >= 1")
    if "data" not in given:
        raise ConfigError("samples: of which data? as in: train show data=digits samples=8")
    fitting = validation.find_compatible_model(given["data"], folders)
    chosen = [f"model={fitting}"] if fitting and "model" not in given else []
    composed = compose.compose([*chosen, *(word for word in words if not word.startswith("samples="))], folders)
    other = compatibility.non_image_inputs(composed.tree["data"]["_target_"])
    if other:
        raise ConfigError(f"samples: draws images (B, C, H, W); data {given['data']} gives {other}")
    from trainer.runs import inspection

    print(inspection.draw_samples(composed, int(given["samples"])))
    return 0


def _show_run(words: Sequence[str]) -> int:
    from trainer.cli import verb_args
    from trainer.config.introspection import Parameter
    from trainer.core.types import NonNegativeInt
    from trainer.runs import saved_run

    _reject_option_name(words[0])
    kept, more = saved_run.load_from_args("show", words)
    known = {"features": Parameter(str, "no layer"), "row": Parameter(NonNegativeInt, "0")}
    options = verb_args.parse_verb_args("show", more, known)
    if "row" in options and "features" not in options:
        raise ConfigError("show row: it selects the row for features=LAYER; name a layer, or leave row out")
    from trainer.runs import inspection

    if "features" in options:
        print(inspection.draw_feature_maps(kept, options["features"], options.get("row", 0)))
        return 0
    print_table([("LAYER", "CLASS", "OUTPUT", "PARAMETERS"), *inspection.summarize_layers(kept)])
    return 0


def _reject_option_name(word: str) -> None:
    """Raise ConfigError for a word that is the name of an option, or close to one, instead of a run directory."""
    from trainer.config import registry

    if os.path.lexists(word):
        return
    groups = [group for group in registry.GROUPS if word in registry.list_options(group)]
    if groups:
        ways = " or ".join(f"train show {group}={word}" for group in groups)
        raise ConfigError(f"there is no run directory {word}; to show the option: {ways}")
    if "/" not in word and (
        near := did_you_mean(word, [name for g in registry.GROUPS for name in registry.list_options(g)])
    ):
        raise ConfigError(f"there is no run directory {word}{near} To show an option: train show GROUP=NAME")


def _print_keys(option: ConfigOption, kinds: Mapping[str, Any], prefix: str = "") -> None:
    from trainer.core.types import describe_type

    rows = [("KEY", "DEFAULT", "TYPE", "MEANING")]
    for key, value, meaning in option.find_entries():
        if key in kinds:
            rows.append((prefix + key, value, describe_type(kinds[key]), meaning))
    if rows[1:]:
        print_table(rows)
