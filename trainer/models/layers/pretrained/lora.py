"""Low-rank adapters (LoRA) of the layers of a saved model."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from trainer.models.layers.pretrained.saved_model import UNUSED_PREFIX
from trainer.utils import hf_hub
from trainer.utils.suggest import did_you_mean

MAX_LISTED = 8


def add_adapters(body: nn.Module, rank: int, alpha: float, targets: Sequence[str] | None) -> None:
    """Add low-rank adapters to layers and freeze all other parameters.

    A layer with weights W computes (W + alpha / rank B A) x, where A has ``rank`` rows; B is zero at first, so that
    the model is unchanged.

    Args:
        body: Layers of the saved model.
        rank: Rank of each adapter.
        alpha: Scale of the adapters, relative to the rank.
        targets: Patterns of the names of linear layers and convolutions; None for all linear layers or, in a network
            without any, all convolutions that are not grouped.

    Raises:
        ConfigError: The package peft is not installed.
        ValueError: A pattern matches no layer, or there is none.

    References:
        Hu et al. 2022, LoRA: Low-Rank Adaptation of Large Language Models, section 4.1
    """
    peft = hf_hub.import_peft()
    names = _find_layers(body, targets)
    pattern = "|".join(map(re.escape, names))  # a list would also match the ends of other names
    peft.inject_adapter_in_model(peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern), body)


def _find_layers(body: nn.Module, targets: Sequence[str] | None) -> list[str]:
    """Return the names of the layers that get adapters."""
    used = {name: module for name, module in body.named_modules() if not name.startswith(UNUSED_PREFIX)}
    linear, convolutions = (
        [name for name, module in used.items() if isinstance(module, kind)] for kind in (nn.Linear, nn.Conv2d)
    )
    names = [*linear, *convolutions]
    if targets is None:
        dense = linear or [name for name in convolutions if used[name].groups == 1]
        if not dense:
            raise ValueError("lora_rank: the model has no linear layer and no convolution for adapters")
        return dense
    for pattern in targets:
        if not any(fnmatchcase(name, pattern) for name in names):
            endings = sorted({f"*.{name.rpartition('.')[2]}" for name in names})
            listing = ", ".join(endings[:MAX_LISTED]) + (", ..." if len(endings) > MAX_LISTED else "")
            raise ValueError(
                f"lora_targets: {pattern!r} matches no linear layer or convolution"
                f"{did_you_mean(pattern, [*endings, *names]) or ';'} there are: {listing}"
            )
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in targets)]


def merge_adapters(body: nn.Module) -> None:
    """Add the adapters to the weights of their layers, W + alpha / rank B A, and remove them."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(body.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(body.get_submodule(parent), child, module.get_base_layer())
