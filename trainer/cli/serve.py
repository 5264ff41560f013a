"""The command ``train serve``; imports are lazy, so that its errors need no torch."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.utils.gc_pause import pause_gc


def serve_run(arguments: Sequence[str]) -> int:
    """Run ``train serve RUN [port=PORT] [host=ADDRESS]``."""
    from trainer.cli import verb_args
    from trainer.config.schema import Port
    from trainer.core.types import PositiveFloat
    from trainer.inference import method_options
    from trainer.runs import run_overrides

    saved, rest = run_overrides.load_from_args("serve", arguments)
    method_options.find_task_options(saved.tree["task"]["_target_"], "serve", "predict")
    keys = verb_args.make_parameters("serve", {"port": Port, "host": str, "max_megabytes": PositiveFloat})
    options = verb_args.parse_verb_args("serve", rest, keys)
    with pause_gc(freeze=True):
        from trainer.inference import serve, trained_model
    model = trained_model.load_from_config(saved)
    serve.serve_model(
        model, options.get("host", "127.0.0.1"), options.get("port", 8000), options.get("max_megabytes", 32.0)
    )
    return 0
