"""Tiny pretrained models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "fine", "bad", "poor", "film", "plot", "the", "was"]
LONGEST = 16


def save(folder: Path) -> Path:
    """Save an encoder of one layer with its tokenizer by ``save_pretrained``."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    coder = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    coder.pre_tokenizer = pre_tokenizers.Whitespace()
    marks = [("[CLS]", 2), ("[SEP]", 3)]
    coder.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=marks)
    named = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=coder, **named).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = BertConfig(vocab_size=len(WORDS), max_position_embeddings=LONGEST, **sizes)
    BertModel(config).save_pretrained(folder)
    return folder


ATTENTION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}
IMAGE_MODELS: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "vit": (
        "ViT",
        ATTENTION | {"intermediate_size": 32},
        "ViTImageProcessor",
        {"size": {"height": 16, "width": 16}, "resample": 2, "image_mean": [0.5] * 3, "image_std": [0.5] * 3},
    ),
    "dinov2": (
        "Dinov2",
        ATTENTION | {"mlp_ratio": 2},
        "BitImageProcessor",
        {
            "size": {"shortest_edge": 20},
            "crop_size": {"height": 16, "width": 16},
            "do_center_crop": True,
            "resample": 3,
            "image_mean": [0.48, 0.46, 0.41],
            "image_std": [0.27, 0.26, 0.28],
        },
    ),
    "convnext": (
        "ConvNext",
        {"hidden_sizes": [4, 6], "depths": [1, 1], "num_stages": 2, "layer_scale_init_value": 0.5},
        "ConvNextImageProcessor",
        {
            "size": {"shortest_edge": 28},
            "crop_pct": 0.875,
            "resample": 3,
            "image_mean": [0.3] * 3,
            "image_std": [0.2] * 3,
        },
    ),
    "resnet": (
        "ResNet",
        {"embedding_size": 4, "hidden_sizes": [4, 6], "depths": [1, 1], "layer_type": "basic"},
        "ConvNextImageProcessor",
        {
            "size": {"shortest_edge": 14},
            "crop_pct": 0.875,
            "resample": 3,
            "image_mean": [0.4] * 3,
            "image_std": [0.3] * 3,
        },
    ),
}
"""Class, configuration, image processor and its options for each architecture of images."""


def save_images(folder: Path, kind: str) -> Path:
    """Save a tiny random model of images with its image processor, as a model on the Hub is saved."""
    import torch
    import transformers

    name, options, processor, processor_options = IMAGE_MODELS[kind]
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**options)
    getattr(transformers, f"{name}Model")(config).save_pretrained(folder)
    steps = {"image_processor_type": processor, "do_resize": True, "do_rescale": True, "do_normalize": True}
    content = json.dumps(steps | {"rescale_factor": 1 / 255} | processor_options)
    (folder / "preprocessor_config.json").write_text(content)
    return folder
