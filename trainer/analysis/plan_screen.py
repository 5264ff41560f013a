"""Plans on the terminal: lines that fit into its width."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Sequence

from trainer.analysis.plan import Plan, RunPlan
from trainer.utils.text import escape_control_chars, format_count
from trainer.utils.time_text import format_seconds

LABEL_WIDTH = 9
MIN_WIDTH, MAX_WIDTH = 40, 110
MAX_GROUPS = 12
"""Most groups of jobs of a sweep that are described."""


def format_plan(plan: Plan) -> str:
    """Format a plan.

    Args:
        plan: The plan.
    """
    width = max(MIN_WIDTH, min(MAX_WIDTH, shutil.get_terminal_size().columns))
    indent = " " * LABEL_WIDTH
    return "\n".join(
        textwrap.fill(
            escape_control_chars(text, one_line=True),
            width,
            initial_indent=f"{label:<{LABEL_WIDTH}}",
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
        for label, text in _list_lines(plan)
    )


def _list_lines(plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield labels and texts."""
    measured = [run for run in plan.runs if run.trial is not None]
    if len(plan.jobs.order) == 1 and measured:
        yield from _describe_run(measured[0], plan)
    elif measured:
        yield from _describe_sweep(plan, measured)
    for reason in plan.refusals:
        yield "refused", reason


def _describe_run(run: RunPlan, plan: Plan) -> Iterator[tuple[str, str]]:
    assert run.trial is not None
    report, names, steps = run.trial.report, run.group.config.names, run.steps
    settings = run.group.config.settings
    threads = format_count(report["threads"], "thread")
    yield (
        "model",
        f"{names['model']} on {names['data']}: {report['params']:,} parameters, {report['device']}, {threads}",
    )
    if widths := format_widths(run):
        yield "match", f"{settings.match}={settings.target}: {widths}"
    batches = f"{report['batches']:,} batch{'es' if report['batches'] > 1 else ''}"
    yield "data", f"{format_rows(report['data']['rows'])}; {batches} an epoch"
    for line in report["data"]["lines"]:
        yield "", line
    count, noun = report["data"]["rows"]["train"]
    rows = count if report["training_rows"] == 1 else min(settings.batch_size * settings.accumulate, count)
    yield "step", f"{rows:,} {noun}, {format_macs(report['macs'])}, {format_seconds(run.seconds_per_step)} on average"
    validations = run.trial.rate.count_validations(steps)
    fixed = f"budget={settings.budget}: " if settings.budget is not None else ""
    yield "steps", f"{fixed}{format_count(steps, 'step')}, {format_count(validations, 'validation')}"
    parts = ", ".join(f"{name} {format_seconds(seconds)}" for name, seconds in run.list_parts().items())
    at_most = "at most " if settings.patience is not None else ""
    yield "time", f"{at_most}{format_seconds(run.seconds)}: {parts}"
    yield "memory", f"{describe_memory(run)} of {plan.machine_bytes / 1e9:,.1f} GB"
    yield "disk", f"{run.disk_bytes / 1e6:,.1f} MB of checkpoints at most, {plan.free_bytes / 1e9:,.1f} GB free"
    for note in list_notes(run):
        yield "note", note


def format_widths(run: RunPlan) -> str:
    """Return the widths for which the model of a run has the size that ``match`` asks for; empty without ``match``.

    Args:
        run: Plan of the run, with a trial.
    """
    assert run.trial is not None
    widths = run.trial.report.get("widths", {})
    return " ".join(f"model.{key}={str(value).replace(' ', '')}" for key, value in widths.items())


def describe_memory(run: RunPlan) -> str:
    """Return the memory of a run, of the machine and of a device.

    Args:
        run: Plan of the run, with a trial.
    """
    assert run.trial is not None
    device_bytes = run.trial.report["device_bytes"]
    on_device = f"{device_bytes / 1e9:.3g} GB on {run.trial.report['device']}, " if device_bytes else ""
    return f"{on_device}{run.memory_bytes / 1e6:,.0f} MB"


def list_notes(run: RunPlan) -> list[str]:
    """Return what the plan of a run leaves out.

    Args:
        run: Plan of the run.
    """
    tree, notes = run.group.config.tree, []
    if tree["task"].get("classifier") is not None:
        notes.append("not timed: the classifier in whose features samples are compared, and these scores")
    if tree["callbacks"]:
        notes.append(f"not timed: callbacks {', '.join(tree['callbacks'])}")
    others = [name for name in tree["logger"] if name != "csv"]
    if others:
        notes.append(f"not timed: loggers {', '.join(others)}")
    if (members := run.group.config.settings.members) is not None:
        notes.append(f"members={members}: the time is that of jobs in processes of their own; as one model it is less")
    return notes


def format_rows(rows: dict[str, Sequence[object]]) -> str:
    """Format the numbers of examples of the splits: ``6,000 / 2,000 / 2,000 rows``.

    Args:
        rows: Number and noun by split.
    """
    return f"{' / '.join(f'{count:,}' for count, _ in rows.values())} {next(iter(rows.values()))[1]}"


def format_macs(macs: int | None) -> str:
    """Format a number of multiply-adds, such as ``37.0 M multiply-adds``.

    Args:
        macs: The number; None if it was not counted.
    """
    if macs is None:
        return "multiply-adds not counted"
    for unit, size in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if macs >= size:
            return f"{macs / size:.3g} {unit} multiply-adds"
    return f"{macs} multiply-adds"


def _describe_sweep(plan: Plan, measured: Sequence[RunPlan]) -> Iterator[tuple[str, str]]:
    jobs = format_count(len(plan.jobs.order), "job")
    time = "unknown" if plan.seconds is None else format_seconds(plan.seconds)
    yield "sweep", f"{jobs}, {plan.at_a_time} at a time: {time}"
    for run in measured[:MAX_GROUPS]:
        assert run.trial is not None
        size = f"{run.trial.report['params']:,} parameters, {format_count(run.steps, 'step')}"
        widths = f" ({format_widths(run)})" if format_widths(run) else ""
        count = "" if run.group.count == 1 else f"{run.group.count} x "
        yield "", f"{count}{format_seconds(run.seconds)}  {describe_memory(run)}  {size}  {run.group.label}{widths}"
    if len(measured) > MAX_GROUPS:
        yield "", f"... and {len(measured) - MAX_GROUPS} more groups of equal cost"
    lines = dict.fromkeys(line for run in measured if run.trial for line in run.trial.report["data"]["lines"])
    for number, line in enumerate(lines):
        yield "" if number else "data", line
    disk = sum(run.disk_bytes * run.group.count for run in measured)
    memory = sorted((run.memory_bytes for run in measured), reverse=True)[0] * plan.at_a_time
    yield "memory", f"{memory / 1e6:,.0f} MB at most of {plan.machine_bytes / 1e9:,.1f} GB"
    yield "disk", f"{disk / 1e6:,.1f} MB of checkpoints at most, {plan.free_bytes / 1e9:,.1f} GB free"
    for note in dict.fromkeys(note for run in measured for note in list_notes(run)):
        yield "note", note
