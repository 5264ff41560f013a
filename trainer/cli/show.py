"""The subcommands ``list`` and ``show``: options, their keys and meanings, augmented images, layers of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.cli import argv, list_runs
from trainer.cli.text_columns import print_table, print_text
from trainer.utils.errors import ConfigError
from trainer.utils.gc_pause import pause_gc
from trainer.utils.paths import is_path_argument
from trainer.utils.suggest import did_you_mean

if TYPE_CHECKING:
    from trainer.config.registry import ConfigOption

_ARGS_SECTION = re.compile(r"^Args:\n(?:(?: .*)?(?:\n|\Z))*", re.MULTILINE)
"""Matches the section of a docstring that describes the parameters."""
SHAPE_LETTERS = (
    "Shapes: B batch, T and S steps or tokens, F features, C classes or channels, H and W height and width,"
    " V vocabulary, N nodes, E edges, G graphs, P forecast horizon or pairs of nodes, D embedding, K numbers to predict"
)
"""Legend of the letters in shapes, as in docs/guides/options.md."""


@pause_gc()  # it keeps what it creates until it ends
def list_options(arguments: Sequence[str]) -> int:
    """Run ``train list``: print one line for each option.

    Args:
        arguments: Words after ``train list``: names of groups, or none for all of them; or ``runs`` with its own.

    Raises:
        ConfigError: A word is not the name of a group.
    """
    if arguments[:1] == ["runs"]:
        return list_runs.list_runs(arguments[1:])
    from trainer.config import registry

    group_names = {"models": "model", "tasks": "task", "optimizers": "optimizer", "schedulers": "scheduler"}
    group_names |= {"experiments": "experiment", "data": "data", "loggers": "logger"} | {
        group: group for group in registry.GROUPS
    }
    groups = []
    words, config_dirs, _ = argv.split_args(arguments)
    for word in words:
        if word not in group_names:
            commands = [
                f"train show {group}={word}"
                for group in registry.GROUPS
                if word in registry.list_options(group, config_dirs)
            ]
            suggestion = (
                f"; show it by: {' or '.join(commands)};"
                if commands
                else did_you_mean(word, [*group_names, "runs"]) or ";"
            )
            raise ConfigError(f"train list {word}: unknown{suggestion} one of {', '.join(group_names)}, runs")
        groups.append(group_names[word])
    for group in groups or registry.GROUPS:
        options = registry.list_options(group, config_dirs).values()
        if not options:
            continue
        if group in ("model", "data"):
            rows = [(option.name, option.task_name or "", option.shapes_line, option.description) for option in options]
            print_table([(group.upper(), "TASK", "SHAPES", ""), *rows])
        else:
            print_table([(group.upper(), ""), *((option.name, option.description) for option in options)])
        if group == "model":
            print_text(SHAPE_LETTERS)
    return 0


def show_details(arguments: Sequence[str]) -> int:
    """Run ``train show``: print keys with type, default and meaning, or layers of a run; draw augmented images."""
    from trainer.config import plugins, registry

    words, config_dirs, _ = argv.split_args(arguments)
    if any(word.startswith("samples=") for word in words):
        return _show_samples(words, config_dirs)
    if words and is_path_argument(words[0]):
        return _show_run(words)
    options, modules = plugins.split_plugin_args(words)
    if modules:
        plugins.declare_plugins(modules)
    if not options:
        from typing import get_type_hints

        from trainer.config.defaults_list import get_builtin_dir
        from trainer.config.schema import Settings

        path = get_builtin_dir() / "train.yaml"
        _print_keys(registry.ConfigOption("", "train", path), get_type_hints(Settings, include_extras=True))
        return 0
    for word in options:
        _show_option(word, config_dirs)
    return 0


@pause_gc()
def _show_option(word: str, config_dirs: Sequence[Path]) -> None:
    """Print the class and the keys of an option, given as ``group=name``, and the keys of other groups that it sets."""
    from trainer.config import introspection, option_keys, registry, torch_classes

    group, _, name = word.partition("=")
    if group not in registry.GROUPS:
        suggestion = did_you_mean(group, registry.GROUPS)
        raise ConfigError(
            f"train show {word}: {group!r} is not a group{suggestion or ';'} one of {', '.join(registry.GROUPS)}"
        )
    options = registry.list_options(group, config_dirs)
    if name not in options:
        raise ConfigError(registry.describe_unknown_option(group, name, options))
    option = options[name]
    if option.problem:
        raise ConfigError(option.problem)
    signature = introspection.read_signature(option.class_path) if option.class_path else None
    print_text(f"{group}={name}: {option.description}")
    if signature and torch_classes.is_torch_class(option.class_path or ""):
        print_text(f"The class is {option.class_path}.")
    elif signature:
        doc = _ARGS_SECTION.sub("", signature.doc).rstrip()  # the table of keys says the same
        print_text("\n\n".join(part for part in (signature.shapes, doc) if part))
    keys = option_keys.read_keys(group, option.class_path) if option.class_path else None
    entry = f"{name}." if group in registry.LIST_GROUPS else ""
    _print_keys(option, {key: parameter.kind for key, parameter in (keys or {}).items()}, f"{group}.{entry}")
    if overrides := option.list_other_overrides():
        print_table([("ALSO SETS", "VALUE", ""), *overrides])
    if group == "data" and option.class_path:
        from trainer.config import compatibility

        if compatibility.describe_non_image_inputs(option.class_path) is None:
            print_text(f"train show {word} augment=NAME samples=8 draws training rows as augmented in the first epochs")


def _show_samples(words: Sequence[str], config_dirs: Sequence[Path]) -> int:
    """Draw augmented training images: ``train show data=NAME augment=NAME samples=N``."""
    from trainer.config import compatibility, compatible_options, compose

    args = dict(word.partition("=")[::2] for word in words)
    if not args["samples"].isdecimal() or not int(args["samples"]):
        raise ConfigError(f"samples: {args['samples']!r} given; it must be a whole number >= 1")
    if "data" not in args:
        raise ConfigError("samples: needs data=NAME, as in: train show data=digits samples=8")
    model_name = compatible_options.find_compatible_model(args["data"], config_dirs)
    model_args = [f"model={model_name}"] if model_name and "model" not in args else []
    composed = compose.compose([*model_args, *(word for word in words if not word.startswith("samples="))], config_dirs)
    inputs = compatibility.describe_non_image_inputs(composed.tree["data"]["_target_"])
    if inputs:
        raise ConfigError(f"samples: draws images (B, C, H, W); data {args['data']} gives {inputs}")
    from trainer.inference import inspection

    print(inspection.draw_samples(composed, int(args["samples"])))
    return 0


def _show_run(words: Sequence[str]) -> int:
    """Print the layers of a saved run's model, or draw its feature maps: ``train show RUN [features=LAYER row=N]``."""
    from trainer.cli import verb_args
    from trainer.core.types import NonNegativeInt
    from trainer.runs import run_overrides

    _reject_option_name(words[0])
    saved, rest = run_overrides.load_from_args("show", words)
    parameters = verb_args.make_parameters("show", {"features": str, "row": NonNegativeInt})
    options = verb_args.parse_verb_args("show", rest, parameters)
    if "row" in options and "features" not in options:
        raise ConfigError("show row: it selects the row for features=LAYER; name a layer, or leave row out")
    from trainer.inference import inspection

    if "features" in options:
        print(inspection.draw_feature_maps(saved, options["features"], options.get("row", 0)))
        return 0
    print_table([("LAYER", "CLASS", "OUTPUT", "PARAMETERS"), *inspection.summarize_layers(saved)])
    return 0


def _reject_option_name(word: str) -> None:
    """Raise ConfigError if a word is not a path but the name of an option, or close to one."""
    from trainer.config import registry

    if os.path.lexists(word):
        return
    groups = [group for group in registry.GROUPS if word in registry.list_options(group)]
    if groups:
        commands = " or ".join(f"train show {group}={word}" for group in groups)
        raise ConfigError(f"there is no run directory {word}; to show the option: {commands}")
    if "/" not in word and (
        suggestion := did_you_mean(word, [name for g in registry.GROUPS for name in registry.list_options(g)])
    ):
        raise ConfigError(f"there is no run directory {word}{suggestion} To show an option: train show GROUP=NAME")


def _print_keys(option: ConfigOption, kinds: Mapping[str, Any], prefix: str = "") -> None:
    from trainer.core.types import describe_type

    rows = [("KEY", "DEFAULT", "TYPE", "MEANING")]
    for key, value, meaning in option.find_entries():
        if key in kinds:
            rows.append((prefix + key, value, describe_type(kinds[key]), meaning))
    if rows[1:]:
        print_table(rows)
