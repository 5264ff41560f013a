"""Transfer of weights: the tensors of a source that fit a task by name and shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from trainer.engine import renamed_state
from trainer.engine.weight_source import WeightSource
from trainer.optim.param_patterns import MODEL_PREFIX, find_former_parameter_names, find_matches
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count, format_dtype, join_names

MAX_LISTED = 4
"""Maximum number of tensors that a line lists."""


@dataclass(frozen=True)
class WeightTransfer:
    """Tensors that were copied, and those that were not.

    Attributes:
        copied: Names of the tensors of the task that were copied.
        fresh: Why other tensors of the task were not, by name: a reason that several share.
        mismatches: Tensors of both sides that do not fit, described.
        missing: Names of the tensors of the task that the source does not have.
        unused: Names of the tensors of the source that the task does not have.
        frozen: Names of the parameters that are neither copied nor trained.
        num_copied: Numbers of parameters: copied ones, and all.
    """

    copied: Sequence[str]
    fresh: Mapping[str, str]
    mismatches: Sequence[str]
    missing: Sequence[str]
    unused: Sequence[str]
    frozen: Sequence[str]
    num_copied: tuple[int, int]

    def describe(self) -> list[str]:
        """Return a line for each kind of tensors, with the first names."""
        copied, total = self.num_copied
        names_by_reason: dict[str, list[str]] = {}
        for name, reason in self.fresh.items():
            names_by_reason.setdefault(reason, []).append(name)
        groups = {
            **{f"fresh ({reason})": names for reason, names in names_by_reason.items()},
            "other shape": self.mismatches,
            "not in the source": self.missing,
            "not in the model": self.unused,
            "frozen as initialized, though not copied": self.frozen,
        }
        listed = (f"{kind}: {join_names(names, MAX_LISTED)}" for kind, names in groups.items() if names)
        share = 100 * copied / max(1, total)
        return [f"copied {format_count(len(self.copied), 'tensor')}, {share:.3g} % of all parameters", *listed]


def transfer_weights(
    task: nn.Module, source: WeightSource, fresh: Mapping[str, str], skipped_patterns: Sequence[str]
) -> WeightTransfer:
    """Copy the weights of a source that fit a task by name and shape; the others stay as they are.

    Args:
        task: The task.
        source: The source; its names may lack the prefix ``model.``.
        fresh: Tensors of the task that stay fresh, with the reason.
        skipped_patterns: Patterns of the names of further ones, as for ``freeze``.

    Raises:
        ConfigError: No parameter fits, or a pattern matches no name.
    """
    state = task.state_dict()
    matched = find_matches("init_skip", skipped_patterns, state, find_former_parameter_names(task))
    fresh = dict.fromkeys(matched, "init_skip") | dict(fresh)
    weights = _find_by_name(renamed_state.rename_parameters({"task": source.weights}, task)["task"], state)
    candidates = {name: weights[name] for name in state if name in weights and name not in fresh}
    mismatches = {
        name: mismatch for name, value in candidates.items() if (mismatch := _find_mismatch(value, state[name]))
    }
    copied = {name: value for name, value in candidates.items() if name not in mismatches}
    parameters = dict(task.named_parameters())
    sizes = {name: parameter.numel() for name, parameter in parameters.items()}
    transfer = WeightTransfer(
        copied=list(copied),
        fresh={name: reason for name, reason in fresh.items() if name in weights},
        mismatches=[f"{name} {mismatch}" for name, mismatch in mismatches.items()],
        missing=[name for name in state if name not in weights],
        unused=[name for name in weights if name not in state],
        frozen=[name for name, value in parameters.items() if name not in copied and not value.requires_grad],
        num_copied=(sum(sizes[name] for name in copied if name in sizes), sum(sizes.values())),
    )
    if not copied.keys() & parameters.keys():
        raise ConfigError(f"init_from: no parameter of the model fits {source.path}", *transfer.describe()[1:])
    task.load_state_dict(state | copied)
    return transfer


def _find_by_name(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights with the names of a task: those of a model alone lack the prefix of the task."""
    return {
        f"{MODEL_PREFIX}{name}" if name not in state and f"{MODEL_PREFIX}{name}" in state else name: value
        for name, value in weights.items()
    }


def _find_mismatch(weight: Tensor, value: Tensor) -> str:
    """Describe why a weight cannot be copied to a tensor of a task; empty if it can, as floats of other precision."""
    if weight.shape != value.shape:
        return f"{list(value.shape)} (source {list(weight.shape)})"
    is_convertible = weight.dtype == value.dtype or (weight.is_floating_point() and value.is_floating_point())
    return "" if is_convertible else f"{format_dtype(value.dtype)} (source {format_dtype(weight.dtype)})"
