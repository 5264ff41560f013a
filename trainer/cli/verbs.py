"""Table of the subcommands of ``train``, the functions that run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from trainer.cli import (
    compare,
    diff,
    evaluate,
    export,
    find,
    plan,
    predict,
    report,
    rerun,
    resume,
    rm,
    sample,
    score,
    search,
    serve,
    show,
    tag,
    why,
)

VERBS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "list": show.list_options,
    "show": show.show_details,
    "resume": resume.resume_run,
    "search": search.run_search,
    "evaluate": evaluate.evaluate_run,
    "predict": predict.predict_run,
    "sample": sample.sample_run,
    "score": score.score_run,
    "serve": serve.serve_run,
    "export": export.export_run,
    "plan": plan.plan_run,
    "find": find.find_value,
    "report": report.report_runs,
    "compare": compare.compare_runs,
    "why": why.explain_run,
    "rerun": rerun.rerun_run,
    "diff": diff.diff_runs,
    "tag": tag.tag_run,
    "rm": rm.remove_runs,
}
"""Functions by name of the subcommand; each takes the words after the name and returns the exit code."""
