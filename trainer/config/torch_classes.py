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
    spec = importlib.util.find_spec("torch")
    return Path(spec.origin).parent if spec and spec.origin else None


@cache
def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def list_classes(group: str) -> dict[str, Path]:
    """The classes of torch that a group may name, each with the file that defines it."""
    torch_dir = _get_torch_dir()
    if torch_dir is None:
        return {}
    if group == "scheduler":
        path = torch_dir / "optim" / "lr_scheduler.py"
        tree = _parse(path)
        exported = {name for node in tree.body for name in _read_export_list(node)}
        classes = {name: path for name in exported if _is_subclass(name, _BASES[group], tree)}
    else:
        imports = (
            node for node in _parse(torch_dir / "optim" / "__init__.py").body if isinstance(node, ast.ImportFrom)
        )
        classes = {
            alias.name: path
            for node in imports
            for alias in node.names
            if (path := torch_dir.parent.joinpath(*(node.module or "").split(".")).with_suffix(".py")).is_file()
            and _is_subclass(alias.name, _BASES[group], _parse(path))
        }
    return {name: path for name, path in sorted(classes.items()) if name != _BASES[group]}


def _read_export_list(node: ast.stmt) -> list[str]:
    is_list = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    return ast.literal_eval(node.value) if is_list else []  # type: ignore[attr-defined]


def _is_subclass(name: str, base: str, tree: ast.Module) -> bool:
    """Whether a class of a file is one of a kind, by the names of the bases that the file shows."""
    node_of_name = next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)
    if name == base or node_of_name is None:
        return name == base
    base_names = [base_name.id for base_name in node_of_name.bases if isinstance(base_name, ast.Name)]
    local_names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    # A base of another file: of torch's optimizers, AdamW is an Adam.
    return any(
        _is_subclass(base_name, base, tree) if base_name in local_names else base_name in (base, "Adam")
        for base_name in base_names
    )


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
    usable = [class_name for class_name in known if class_name not in REFUSED]
    if not usable:
        return f"target {target!r} is not on the allow-list"
    return f"{module} has no {group} {name}{did_you_mean(name, usable) or ';'} one of {', '.join(usable)}"


def narrow_types(kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The types of the parameters of a class of torch, with the ranges that it leaves unsaid."""
    return {key: _RANGES.get(key, kind) for key, kind in kinds.items()}
