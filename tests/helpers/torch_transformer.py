"""Copies of transformer weights into the layers of torch."""

from __future__ import annotations

import torch
from torch import nn

from trainer.models.layers.attention.attention import MultiHeadAttention
from trainer.models.layers.attention.transformer import (
    TransformerBlock,
)


def copy_attention(theirs: nn.MultiheadAttention, ours: MultiHeadAttention) -> None:
    with torch.no_grad():
        theirs.in_proj_weight.copy_(ours.in_proj.weight)
        theirs.in_proj_bias.copy_(ours.in_proj.bias)
    theirs.out_proj.load_state_dict(ours.out_proj.state_dict())


def copy_block(theirs: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer, ours: TransformerBlock) -> None:
    """Copy the weights of a block into the layer of torch."""
    norms = [theirs.norm1, theirs.norm2]
    copy_attention(theirs.self_attn, ours.attention)
    if isinstance(theirs, nn.TransformerDecoderLayer):
        assert ours.cross_attention is not None
        copy_attention(theirs.multihead_attn, ours.cross_attention)
        norms.append(theirs.norm3)
    for left, right in zip((theirs.linear1, theirs.linear2), (ours.feedforward[0], ours.feedforward[2]), strict=True):
        left.load_state_dict(right.state_dict())
    for left, right in zip(norms, ours.norms, strict=True):
        left.load_state_dict(right.state_dict())
