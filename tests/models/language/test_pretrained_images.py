"""Pretrained image models of a local directory: weights, features, errors."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch

from tests.helpers import saved_model
from trainer.config import compose
from trainer.models.language.pretrained import Pretrained
from trainer.utils.errors import ConfigError

KINDS = [*saved_model.IMAGE_MODELS]
RANGE = [[0.0] * 3, [1.0] * 3]


@cache
def save(kind: str) -> Path:
    return saved_model.save_images(Path(mkdtemp()), kind)


def make(folder: Path, **options: Any) -> Pretrained:
    return Pretrained(str(folder), 4, **{"pixel_bounds": RANGE, "dropout": 0.0} | options).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_features_equal_those_of_transformers(kind: str) -> None:
    from transformers import AutoImageProcessor, AutoModel

    side = {"vit": 16, "dinov2": 20, "convnext": 32, "resnet": 16}[kind]
    pictures = torch.randint(256, (3, 3, side, side), dtype=torch.uint8)
    model, body = make(save(kind)), AutoModel.from_pretrained(save(kind)).eval()
    inputs = AutoImageProcessor.from_pretrained(save(kind))(images=list(pictures), return_tensors="pt")
    output = body(**inputs)
    tokens = output.last_hidden_state
    expected = tokens[:, 0] if tokens.dim() == 3 else output.pooler_output.flatten(1)
    features = model.features(model.body, pictures / 255)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(model(pictures / 255), model.head(expected), rtol=1e-5, atol=2e-6)
    if tokens.dim() == 3:
        mean = make(save(kind), pool="mean")
        torch.testing.assert_close(mean.features(mean.body, pictures / 255), tokens.mean(1), rtol=1e-5, atol=2e-6)


def test_data_normalization_does_not_change_the_output() -> None:
    model = make(save("vit"))
    x, mean, std = torch.rand(2, 3, 12, 12), torch.tensor([0.2, 0.4, 0.6]).view(3, 1, 1), 0.3
    bounds = [(((end - mean) / std).flatten().tolist()) for end in (0.0, 1.0)]
    normalized = make(save("vit"), pixel_bounds=bounds)
    normalized.head.load_state_dict(model.head.state_dict())
    torch.testing.assert_close(normalized((x - mean) / std), model(x), rtol=1e-4, atol=1e-5)


def test_gray_images_are_repeated() -> None:
    model, x = make(save("resnet")), torch.rand(2, 1, 12, 12)
    gray = make(save("resnet"), pixel_bounds=[[0.0], [1.0]])
    gray.head.load_state_dict(model.head.state_dict())
    torch.testing.assert_close(gray(x), model(x.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("kind", KINDS)
def test_stored_architecture_replaces_the_directory(kind: str) -> None:
    model, x = make(save(kind)), torch.rand(2, 3, 20, 20)
    stored = json.loads(json.dumps(model.architecture))
    rebuilt = Pretrained("/nowhere", 4, pixel_bounds=RANGE, dropout=0.0, stored_architecture=stored).eval()
    rebuilt.load_state_dict(model.state_dict())
    assert torch.equal(rebuilt(x), model(x))
    assert rebuilt.architecture == model.architecture


def test_kinds_of_data_and_model_must_be_equal(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^name: .* is a ViTModel, which takes images, and the data is text; use a model"
    ):
        make(save("vit"), vocab_size=12, pixel_bounds=None)
    with pytest.raises(
        ValueError, match=r"is a BertModel, which takes text, and the data is images; .* data set of text"
    ):
        make(saved_model.save(tmp_path))
    with pytest.raises(
        ValueError, match=r"^pixel_bounds: the data set reports no values .* set pixel_bounds=\[\[BLACK"
    ):
        make(save("vit"), pixel_bounds=None)


def test_models_without_class_token_need_mean(tmp_path: Path) -> None:
    from transformers import SwinConfig, SwinModel

    config = SwinConfig(image_size=16, patch_size=4, embed_dim=8, depths=[1], num_heads=[2], window_size=2)
    SwinModel(config).save_pretrained(tmp_path)
    processor = (save("vit") / "preprocessor_config.json").read_text()
    (tmp_path / "preprocessor_config.json").write_text(processor)
    with pytest.raises(ValueError, match=r"^pool: the model has no class token as its first token; set pool=mean"):
        make(tmp_path)
    assert make(tmp_path, pool="mean")(torch.rand(2, 3, 9, 9)).shape == (2, 4)


def test_missing_weights_raise(tmp_path: Path) -> None:
    """Transformers would only log that these layers are random."""
    (tmp_path / "model.safetensors").write_bytes((save("dinov2") / "model.safetensors").read_bytes())
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text((save("vit") / name).read_text())
    with pytest.raises(ValueError, match=r"^name: .* lacks \d+ weights of a ViTModel: layers\.0\.layernorm"):
        make(tmp_path)


def test_other_size_of_the_image_processor_raises(tmp_path: Path) -> None:
    saved_model.save_images(tmp_path, "vit")
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"size": {"height": 24, "width": 24}}))
    with pytest.raises(ValueError, match="name: ViTModel cannot be used as an encoder: Input image size"):
        make(tmp_path)


def test_pickled_weights_are_not_loaded(tmp_path: Path) -> None:
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text((save("vit") / name).read_text())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ConfigError, match="cannot be read"):
        make(tmp_path)


def test_code_of_an_image_processor_is_not_executed(tmp_path: Path) -> None:
    saved_model.save_images(tmp_path, "vit")
    file = tmp_path / "preprocessor_config.json"
    remote = {"image_processor_type": "Evil", "auto_map": {"AutoImageProcessor": "evil.Processor"}}
    file.write_text(json.dumps(json.loads(file.read_text()) | remote))
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    with pytest.raises(ConfigError, match=r"it needs custom code \(evil\.Processor\), which train never runs"):
        make(tmp_path)


def test_image_data_sets_get_no_tokenizer() -> None:
    tree = compose.compose(["model=pretrained", "data=digits", "model.name=x"]).tree
    assert not {"tokens", "tokenizer"} & tree["data"].keys()
    tree = compose.compose(["model=pretrained", "data=text_folder", "data.path=x", "model.name=y"]).tree
    assert (tree["data"]["tokens"], tree["data"]["tokenizer"]) == ("pretrained", "y")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data=adding"], r"needs x \(B, S\) or x \(B, C, H, W\); data adding gives x .* works with: digits, gratings"),
        (["data=index_lookup"], "sets data.tokenizer and data.tokens, which data index_lookup does not have"),
        (["data=digits", "data.tokens=words"], r"data\.tokens: unknown key"),
        (["data=digits", "model.stored_architecture={}"], r"stored_architecture"),
        (["data=digits", "model.lora_rank=0"], r"model\.lora_rank: 0 given; it must be a whole number >= 1 or null"),
    ],
)
def test_incompatible_options_raise(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose.compose(["model=pretrained", "model.name=x", *overrides])
