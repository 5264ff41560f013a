"""The command ``train evaluate``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.runs.commands import OUTPUT_OPTIONS
from trainer.utils.errors import ConfigError
from trainer.utils.gc_pause import pause_gc


def evaluate_run(arguments: Sequence[str]) -> int:
    """Run ``train evaluate RUN [input=PATH] [key=value ...]``.

    Args:
        arguments: Words after ``train evaluate``.

    Raises:
        ConfigError: An argument is invalid, or an option of the file is given without a file.
    """
    from trainer.cli import verb_args
    from trainer.core.types import NonNegativeInt
    from trainer.inference import method_options
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("evaluate", arguments)
    read_keys = method_options.find_read_options(saved.tree["data"]["_target_"])
    read_keys = {key: parameter for key, parameter in read_keys.items() if key not in OUTPUT_OPTIONS}
    keys = verb_args.make_parameters("evaluate", {"input": str, "output": str, "resamples": NonNegativeInt})
    options = verb_args.parse_verb_args("evaluate", rest, keys | read_keys)
    if "input" in options:
        with pause_gc(freeze=True):
            from trainer.inference import evaluate_file
        read_options = {key: options.pop(key) for key in read_keys if key in options}
        evaluate_file.evaluate_file(saved, options.pop("input"), read_options=read_options, **options)
        return 0
    if options:
        raise ConfigError(f"evaluate {min(options)}: it is about the file that input=PATH names, which is missing")
    with pause_gc(freeze=True):
        from trainer.inference import evaluate
    evaluate.evaluate_run(saved)
    return 0
