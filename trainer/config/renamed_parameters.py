"""Names of layers, parameters and buffers in checkpoints before version 4, by the class that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

_PREFIX = "trainer.models."
_FORMER_NAMES: Mapping[str, Mapping[str, str]] = {
    "forecasting.forecasters.DLinear": {"seasonal": "rest"},
    "forecasting.graph_forecaster.GCNLSTM": {"convs": "convolutions"},
    "generative.diffusion_unet.DiffusionUNet": {
        "time_embedding": "moment",
        "conv_in": "enter",
        "down_blocks": "downs",
        "downsamplers": "shrink",
        "mid_blocks": "bottom",
        "up_blocks": "ups",
        "upsamplers": "grow",
        "conv_out": "leave",
    },
    "generative.diffusion_unet._ResidualBlock": {"in_layers": "first", "cond_proj": "told", "out_layers": "second"},
    "generative.mlp_denoiser.Denoiser": {"time_embedding": "moment", "in_proj": "enter", "out_proj": "leave"},
    "generative.mlp_denoiser._ResidualBlock": {"linear1": "first", "cond_proj": "told", "linear2": "second"},
    "generative.real_nvp.RealNVP": {
        "permutations": "orders",
        "second_half_nets": "of_second",
        "first_half_nets": "of_first",
    },
    "generative.vae._BaseVAE": {"downsample": "down", "upsample": "up"},
    "generative.vq_vae._BaseVQVAE": {"quantizer": "quantiser"},
    "graph.graph_net.GraphNet": {"node_embedding": "codes"},
    "graph.recommendation.BipartiteGNN": {"decoder": "dot"},
    "graph.recommendation.MatrixFactorization": {"decoder": "dot"},
    "graph.spatiotemporal.SpatiotemporalGNN": {"conv": "convolution"},
    "language.gpt.GPT": {"transformer": "blocks"},
    "language.seq2seq.Attention": {
        "key_proj": "key",
        "query_proj": "query",
        "score_proj": "reduce",
        "out_proj": "mix",
    },
    "language.seq2seq.Seq2Seq": {"source_embedding": "source", "target_embedding": "target"},
    "language.transformer_seq2seq.TransformerSeq2Seq": {"source_embedding": "source", "target_embedding": "target"},
    "layers.attention.attention.MultiHeadAttention": {"kernel": "attend", "in_proj": "project", "out_proj": "out"},
    "layers.attention.efficient_attention.LinformerAttention": {"key_proj": "keys", "value_proj": "values"},
    "layers.attention.positional_encoding.LearnedPositionalEncoding": {"embedding": "table"},
    "layers.attention.transformer.TransformerBlock": {"cross_attention": "cross"},
    "layers.attention.transformer.TransformerStack": {"positional_encoding": "place"},
    "layers.categorical_embedding.CategoricalEmbedding": {"embedding": "table"},
    "layers.generative.codebook_prior.CodebookPrior": {"transformer": "blocks"},
    "layers.generative.gan.Critic": {"class_embedding": "classes"},
    "layers.generative.gan.Generator": {"class_embedding": "embedding"},
    "layers.generative.stylegan.StyledLayer": {"conv": "convolution", "noise_scale": "noise"},
    "layers.generative.stylegan.StyledStage": {"to_rgb": "ink"},
    "layers.generative.time_embedding.TimeEmbedding": {"mlp": "mix", "class_embedding": "classes"},
    "layers.generative.vector_quantizer.VectorQuantizer": {"ema_cluster_size": "shares", "ema_cluster_sum": "sums"},
    "layers.graph.graph_attention.GATConv": {"att_src": "source", "att_dst": "target"},
    "layers.graph.graph_attention.GATv2Conv": {"att": "score"},
    "layers.graph.graph_conv.SAGEConv": {"neighbor_weight": "weight_near"},
    "layers.graph.relational_graph_conv.RGCNConv": {"relation_weight": "near", "basis_coefficients": "share"},
    "multimodal.fusion.ConcatFusion": {"projections": "ends"},
    "multimodal.fusion.CrossAttentionFusion": {"input_projections": "maps"},
    "multimodal.fusion.VectorEncoder": {"linear": "layer"},
    "multimodal.fusion.VideoEncoder": {"image_encoder": "picture", "sequence_encoder": "over"},
    "vision.conv_lstm.ConvLSTMLayer": {"input_conv": "enter", "hidden_conv": "recall"},
    "vision.efficientnet.EfficientNet": {"conv_head": "last"},
    "vision.efficientnet.SqueezeExcite": {"gate": "weigh"},
    "vision.mobilenet.MobileNet": {"blocks": "pairs"},
    "vision.unet.UNet": {"down_blocks": "downs", "up_blocks": "ups"},
    "vision.unet._UpBlock": {"upsample": "up"},
}
"""Former name of each renamed attribute, by class below ``trainer.models``; it applies to subclasses too."""


def find_former_names(root: nn.Module, names: Iterable[str]) -> dict[str, str]:
    """Map the former names of parameters and buffers to the current ones.

    The classes of the modules decide, so that a layer of a plugin with an attribute of the same name is not affected.

    Args:
        root: The module to which the names are relative.
        names: Current dotted names.

    Returns:
        The current name by former name, without those that are still a current name.
    """
    current = set(names)
    former = {".".join(_iter_former_parts(root, name)): name for name in current}
    return {old: new for old, new in former.items() if old not in current}


def _iter_former_parts(root: nn.Module, name: str) -> Iterator[str]:
    node: object = root
    for part in name.split("."):
        yield _former_attributes(type(node)).get(part, part)
        node = getattr(node, part, None)


def _former_attributes(cls: type) -> dict[str, str]:
    """Return the former name of each renamed attribute of a class and its base classes."""
    former_names: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        path = f"{base.__module__}.{base.__qualname__}"
        if path.startswith(_PREFIX):
            former_names |= _FORMER_NAMES.get(path.removeprefix(_PREFIX), {})
    return former_names
