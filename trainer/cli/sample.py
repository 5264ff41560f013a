"""The command ``train sample``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.utils.gc_pause import pause_gc
from trainer.utils.text import escape_control_chars, escape_unencodable


def sample_run(arguments: Sequence[str]) -> int:
    """Run ``train sample RUN key=value ...``."""
    from trainer.cli import verb_args
    from trainer.inference import method_options
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("sample", arguments)
    parameters = method_options.find_task_options(saved.tree["task"]["_target_"], "sample")
    keys = verb_args.make_parameters("sample", {"output": str})
    options = verb_args.parse_verb_args("sample", rest, keys | parameters)
    output = options.pop("output", None)
    with pause_gc(freeze=True):
        from trainer.inference import sample
    for piece in sample.sample_run(saved, options, output):
        print(escape_unencodable(escape_control_chars(piece)), end="", flush=True)
    print()
    return 0
