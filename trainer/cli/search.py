"""The command ``train search``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.utils.errors import ConfigError
from trainer.utils.gc_pause import pause_gc

KEYS = ("search", "budget", "seeds", "finalists", "search_seed")
"""Keys of the search; all others are overrides of the configuration."""


def run_search(arguments: Sequence[str]) -> int:
    """Run ``train search KEY=VALUES ... [search=METHOD] budget=AMOUNT``.

    Args:
        arguments: Words after ``train search``.

    Raises:
        ConfigError: The command line is invalid.
    """
    from trainer.cli import argv, verb_args
    from trainer.config import launcher_options
    from trainer.config.override_parser import is_set, quote_letters
    from trainer.config.search_points import PointComposer
    from trainer.config.search_space import parse_space
    from trainer.config.sweep_file import expand_sweep_files
    from trainer.core.types import NonNegativeInt, PositiveInt
    from trainer.runs import slurm

    words, config_dirs, flags = argv.split_args(arguments)
    if unused := flags - {argv.CONFIG_DIR_FLAG}:
        raise ConfigError(f"search {min(unused)}: it is about a space of configurations; leave it out")
    _check_spelling(words)
    own = [word for word in words if word.partition("=")[0] in KEYS]
    kinds = dict(zip(KEYS, (str, str, PositiveInt, PositiveInt, NonNegativeInt), strict=True))
    values = verb_args.parse_verb_args("search", own, verb_args.make_parameters("search", kinds))
    with pause_gc():
        from trainer.search import options as search_options

        options = search_options.make_options(**values)
        overrides = [quote_letters(word) for word in words if word not in own]
        launcher, overrides = launcher_options.split_launcher(overrides, config_dirs)
        space = parse_space(expand_sweep_files(overrides, config_dirs), config_dirs)
        search_options.check_space(options, space)
        composer = PointComposer(space, config_dirs)
        composer.check_corners()
    with pause_gc(freeze=True):
        from trainer.search import search_run
        from trainer.viz.console import print_line
    with slurm.requeue_on_warning(is_resumable=is_set(overrides, "resume", "auto")):
        pages: list[Path] = []
        code = search_run.run_search(options, composer, launcher, lambda root: pages.append(_write_page(root)))
    print_line(f"page: {pages[-1]}")
    return code


def _write_page(root: Path) -> Path:
    """Write the page of a search, and return its path."""
    from trainer.report import search_page, write_page

    path = root / write_page.REPORT_FILE
    write_page.write_page(write_page.render_page("search.html", search_page.make_search_page(root)), path)
    return path


def _check_spelling(words: Sequence[str]) -> None:
    """Raise ConfigError for words that are no keys of the configuration, but similar to those of the search."""
    from trainer.cli.unknown_command import list_choices
    from trainer.config import registry
    from trainer.config.schema import Settings
    from trainer.search.options import METHODS
    from trainer.utils.suggest import did_you_mean, format_suggestion

    if plain := next((word for word in words if word and word[0].isalpha() and "=" not in word), None):
        found = [f"search={plain}"] if plain in METHODS else list_choices(plain)
        raise ConfigError(f"search {plain}: it is no KEY=VALUE{format_suggestion(found)}")
    known = {*KEYS, "sweep", *Settings.__dataclass_fields__, *registry.GROUPS}
    keys = [word.partition("=")[0] for word in words]
    unknown = [key for key in keys if key.isidentifier() and key not in known]
    problems = [f"{key}: unknown key{hint}" for key in unknown if (hint := did_you_mean(key, (*KEYS, "sweep")))]
    if problems:
        raise ConfigError(*problems)
