"""The optimizers and schedulers of torch that a configuration may name, read from the source of torch."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from trainer.core.types import Decay, NonNegativeFloat, PositiveFloat, PositiveInt
from trainer.utils.suggest import did_you_mean

_MODULES = {"optimizer": "torch.optim", "scheduler": "torch.optim.lr_scheduler"}
_BASES = {"optimizer": "Optimizer", "scheduler": "LRScheduler"}
REFUSED = {
    "LBFGS": "it evaluates the loss several times in a step, which the training loop does not",
    "SparseAdam": "it takes sparse gradients, and those of a run are dense",
    "LambdaLR": "it takes a Python function; write a class in a module of yours, and name that in plugins=[...]",
    "SequentialLR": "it takes scheduler objects; write a class in a module of yours, and name that in plugins=[...]",
}
REFUSED |= {"MultiplicativeLR": REFUSED["LambdaLR"], "ChainedScheduler": REFUSED["SequentialLR"]}
"""Classes that are exported there and cannot be used, and why."""
_RANGES: Mapping[str, Any] = {
    "lr": PositiveFloat,
    "weight_decay": NonNegativeFloat,
    "momentum": Decay,
    "betas": tuple[Decay, Decay],
    "T_0": PositiveInt,
    "T_mult": PositiveInt,
    "step_size": PositiveInt,
    "milestones": list[PositiveInt],
    **dict.fromkeys(("T_max", "total_iters", "total_steps"), PositiveInt | None),
}
"""Parameters whose range torch checks late or never; null is the length of the run."""


@cache
def _get_torch_dir() -> Path | None:
    found = importlib.util.find_spec("torch")
    return Path(found.origin).parent if found and found.origin else None


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def list_classes(group: str) -> dict[str, Path]:
    """The classes of torch that a group may name, each with the file that defines it."""
    folder = _get_torch_dir()
    if folder is None:
        return {}
    if group == "scheduler":
        path = folder / "optim" / "lr_scheduler.py"
        tree = _parse(path)
        exported = {name for node in tree.body for name in _read_export_list(node)}
        found = {name: path for name in exported if _is_subclass(name, _BASES[group], tree)}
    else:
        imports = (node for node in _parse(folder / "optim" / "__init__.py").body if isinstance(node, ast.ImportFrom))
        found = {
            alias.name: path
            for node in imports
            for alias in node.names
            if (path := folder.parent.joinpath(*(node.module or "").split(".")).with_suffix(".py")).is_file()
            and _is_subclass(alias.name, _BASES[group], _parse(path))
        }
    return {name: path for name, path in sorted(found.items()) if name != _BASES[group]}


def _read_export_list(node: ast.stmt) -> list[str]:
    is_list = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    return ast.literal_eval(node.value) if is_list else []  # type: ignore[attr-defined]


def _is_subclass(name: str, base: str, tree: ast.Module) -> bool:
    """Whether a class of a file is one of a kind, by the names of the bases that the file shows."""
    found = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if name == base or found is None:
        return name == base
    above = [part.id for part in found.bases if isinstance(part, ast.Name)]
    local = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    # A base of another file: of torch's optimizers, AdamW is an Adam.
    return any(_is_subclass(part, base, tree) if part in local else part in (base, "Adam") for part in above)


def find_source_file(target: str) -> Path | None:
    """The file that defines a class of torch that a configuration may name."""
    module, _, name = target.rpartition(".")
    return next((list_classes(group).get(name) for group, path in _MODULES.items() if path == module), None)


def is_torch_class(target: str) -> bool:
    """Whether a dotted name is of a module of torch whose classes may be named."""
    return target.rpartition(".")[0] in _MODULES.values()


def describe_refusal(group: str, target: str) -> str | None:
    """Why a class of torch cannot be used for a group; None where it can, or is not of torch."""
    module, _, name = target.rpartition(".")
    if module not in _MODULES.values():
        return None
    known = list_classes(group) if module == _MODULES.get(group) else {}
    if name in REFUSED and name in known:
        return f"{target} cannot be used: {REFUSED[name]}"
    if name in known:
        return None
    usable = [other for other in known if other not in REFUSED]
    if not usable:
        return f"target {target!r} is not on the allow-list"
    return f"{module} has no {group} {name}{did_you_mean(name, usable) or ';'} one of {', '.join(usable)}"


def narrow_types(kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The types of the parameters of a class of torch, with the ranges that it leaves unsaid."""
    return {key: _RANGES.get(key, kind) for key, kind in kinds.items()}
