from __future__ import annotations

import pytest

from trainer.export import formats
from trainer.utils.errors import ConfigError


@pytest.mark.parametrize(
    "text", ["[torch_export,onnx]", "torch_export,onnx", " torch_export , onnx, onnx ", "['torch_export', 'onnx']"]
)
def test_lists_of_formats(text: str) -> None:
    assert formats.parse_formats(text) == ["torch_export", "onnx"]


@pytest.mark.parametrize("text", ["", "[]", "onx", "onnx,", "ONNX", "torch"])
def test_unknown_formats_are_refused_with_those_that_exist(text: str) -> None:
    with pytest.raises(ConfigError, match="one or more of safetensors, torch_export, onnx") as caught:
        formats.parse_formats(text)
    assert str(caught.value).startswith("export format: ")


def test_nearest_format_is_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean onnx"):
        formats.parse_formats("onxx")


def test_missing_packages_are_named_with_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(ConfigError, match=r"onnx needs onnxscript: pip install 'train-zoo\[onnx\]'"):
        formats.parse_formats("onnx")


def test_every_format_has_a_module() -> None:
    modules = formats.import_formats(list(formats.FORMATS))
    assert len({module.FILE for module in modules.values()}) == len(formats.FORMATS)
