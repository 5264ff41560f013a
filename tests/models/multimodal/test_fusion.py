"""Multimodal fusion: formulas, learnable interactions, rejected inputs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.lab import configure, lab
from trainer.config import compose
from trainer.models.layers.attention.attention import MultiHeadAttention
from trainer.models.multimodal.fusion import CrossAttentionFusion, GatedFusion, Multimodal
from trainer.utils.errors import ConfigError

SHAPES = {"sequence": [10, 8], "image": [1, 28, 28]}
SMALL = (
    *("model=multimodal", "data=mod3", "data.rows=1800", "data.size=12", "data.wavelength=4", "data.noise=0.5"),
    *("optimizer.lr=3e-3", "batch_size=32", "epochs=4"),
)
FUSIONS = ("concat", "gate", "cross_attention")


def make_model(shapes: dict[str, list[int]] | None = None, **changes: Any) -> Multimodal:
    """Build the default of conf/model/multimodal.yaml for three classes, with changes."""
    options = configure("model=multimodal", "data=mod3")["model"]
    options.pop("_target_")
    return Multimodal(**options | {"input_shapes": shapes or SHAPES, "out_features": 3} | changes).eval()


def make_inputs(shapes: dict[str, list[int]], count: int = 4) -> dict[str, Tensor]:
    return {name: torch.randn(count, *shape) for name, shape in shapes.items()}


def test_parameter_count_matches_reference() -> None:
    model = make_model(cell="rnn", hidden=[])
    assert sum(parameter.numel() for parameter in model.parameters()) == 62019


def compute_interaction(model: Multimodal) -> Tensor:
    """``f(s, i) - f(s', i) - f(s, i') + f(s', i')``: zero for every pair where inputs are only added."""
    one, other = make_inputs(SHAPES), make_inputs(SHAPES)
    crossed = [{"sequence": s["sequence"], "image": i["image"]} for s in (one, other) for i in (one, other)]
    with torch.no_grad():
        a, b, c, d = (model.double()(**{name: x.double() for name, x in pair.items()}) for pair in crossed)
    return (a - b - c + d).abs().amax()


def test_only_linear_concat_fusion_is_additive() -> None:
    assert compute_interaction(make_model(fusion="concat", hidden=[])) < 1e-12
    assert compute_interaction(make_model(fusion="concat")) > 1e-7
    assert compute_interaction(make_model(fusion="gate", hidden=[])) > 1e-7
    assert compute_interaction(make_model(fusion="cross_attention", hidden=[])) > 1e-7


def test_gated_fusion_matches_paper() -> None:
    model = make_model(fusion="gate", width=5, hidden=[])
    gate, inputs = model.fusion, make_inputs(SHAPES)
    assert isinstance(gate, GatedFusion)
    sequence, image = (encode(inputs[name]) for name, encode in zip(SHAPES, model.encoders, strict=True))
    v = [gate.projections[0](sequence[:, -1]), gate.projections[1](image.reshape(4, -1))]
    weights, biases = gate.gates.weight.split(5), gate.gates.bias.split(5)
    z = [torch.sigmoid(torch.cat(v, 1) @ w.T + b) for w, b in zip(weights, biases, strict=True)]
    expected = z[0] * torch.tanh(v[0]) + z[1] * torch.tanh(v[1])
    torch.testing.assert_close(gate([sequence, image]), expected, atol=1e-6, rtol=0)


def test_cross_attention_fusion_matches_torch() -> None:
    shapes = SHAPES | {"table": [6]}
    model = make_model(shapes, fusion="cross_attention")
    fusion, inputs = model.fusion, make_inputs(shapes)
    assert isinstance(fusion, CrossAttentionFusion)
    encoded = [encode(inputs[name]) for name, encode in zip(shapes, model.encoders, strict=True)]
    assert [tuple(steps.shape) for steps in encoded] == [(4, 10, 64), (4, 49, 32), (4, 1, 64)]
    steps = [project(part).transpose(0, 1) for project, part in zip(fusion.input_projections, encoded, strict=True)]
    expected = []
    for i, (own, attention) in enumerate(zip(steps, fusion.attentions, strict=True)):
        others = torch.cat([part for j, part in enumerate(steps) if j != i])
        assert isinstance(attention, MultiHeadAttention)
        theirs = nn.MultiheadAttention(32, 4)
        ours = attention.in_proj.weight, attention.in_proj.bias, attention.out_proj.weight, attention.out_proj.bias
        names = ("in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias")
        theirs.load_state_dict(dict(zip(names, ours, strict=True)))
        attended = (own + theirs(own, others, others)[0]).transpose(0, 1)
        expected.append(fusion.projections[i](attended[:, -1] if i == 0 else attended.flatten(1)))
    torch.testing.assert_close(fusion(encoded), torch.cat(expected, 1), atol=1e-5, rtol=0)


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize(
    "shapes",
    [{"x": [6]}, {"x": [7, 3]}, {"x": [3, 9, 14]}, {"keys": [2], "items": [5, 1], "forward": [1, 4, 4], "b": [1]}],
    ids=["one table", "one sequence", "one image", "four of any name"],
)
def test_accepts_inputs_of_any_name_and_shape(shapes: dict[str, list[int]], fusion: str) -> None:
    model, inputs = make_model(shapes, fusion=fusion), make_inputs(shapes)
    for x in inputs.values():
        x.requires_grad_()
    logits = model(**dict(reversed(inputs.items())))
    assert logits.shape == (4, 3)
    logits.sum().backward()
    assert all(x.grad is not None and x.grad.abs().sum() > 0 for x in inputs.values())


@pytest.mark.slow
@pytest.mark.parametrize("fusion", FUSIONS)
def test_fusion_learns_interaction_of_inputs(fusion: str) -> None:
    run = lab(*SMALL, f"model.fusion={fusion}")
    assert run.test()["accuracy"] > 0.95
    inputs = run.loaders["test"].split.inputs
    inputs["image"] = torch.zeros_like(inputs["image"])
    assert run.trainer.evaluate_loader(run.loaders["test"])["accuracy"] < 0.42


@pytest.mark.slow
def test_additive_fusion_fails_and_gate_learns_without_hidden_layers() -> None:
    no_hidden = ("model.hidden=[]", "epochs=8")
    assert lab(*SMALL, *no_hidden).test()["accuracy"] < 0.42
    assert lab(*SMALL, *no_hidden, "model.fusion=gate").test()["accuracy"] > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("input_shape", ["sequence:[10,8]", "image:[1,12,12]"])
def test_single_input_does_not_learn_interaction(input_shape: str) -> None:
    assert lab(*SMALL, f"+model.input_shapes={{{input_shape}}}").test()["accuracy"] < 0.42


def test_clip_encoder_reads_frames_in_order() -> None:
    model = make_model({"clip": [3, 1, 8, 8]}).eval()
    encoder = model.encoders[0]
    clip = torch.randn(2, 3, 1, 8, 8)
    maps = torch.stack([encoder.image_encoder(frame).flatten(1) for frame in clip.unbind(1)], 1)
    torch.testing.assert_close(encoder(clip), encoder.sequence_encoder.rnn(maps, None)[0], atol=1e-5, rtol=0)
    assert not torch.allclose(model(clip=clip), model(clip=clip.flip(1)), atol=1e-4)


def test_missing_input_raises() -> None:
    with pytest.raises(
        ConfigError, match=r"forward\(\*\*inputs\) cannot take this data \(sequence .* image .*\): 'sound'"
    ):
        lab(*SMALL, "+model.input_shapes={sound:[10,8]}")


@pytest.mark.slow
def test_softmax_before_cross_entropy_bounds_nll() -> None:
    run = lab(*SMALL)
    assert run.test()["nll"] < 0.1
    control = lab(*SMALL)
    head = control.task.model.head
    assert isinstance(head, nn.Sequential)
    head.append(nn.Softmax(-1))
    assert control.test()["nll"] > math.log(1 + 2 / math.e)


@pytest.mark.parametrize(
    ("shapes", "changes", "message"),
    [
        ({"clip": [2, 3, 4, 8, 8]}, {}, r"clip has 5 dims a row, \(2, 3, 4, 8, 8\); \(F\), \(T, F\), \(C, H, W\) and"),
        ({"x": [5], "lengths": []}, {}, r"lengths has 0 dims a row"),
        ({"image": [1, 9, 3]}, {}, "a 9 x 3 image has no pixels left after 2 halvings"),
        (SHAPES, {"fusion": "cross_attention", "heads": 5}, "width 32 is not divisible by 5 heads"),
    ],
)
def test_unsupported_shapes_raise(shapes: dict[str, list[int]], changes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(shapes, **changes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("index_lookup", r"needs x \(B, \.\.\.\); data index_lookup gives x \(B, S\)"),
        ("sbm", r"needs \*\*inputs \(B, \.\.\.\); data sbm gives x \(N, F\)"),
        ("var_len_sum", "takes no lengths: it would read the padding"),
    ],
)
def test_incompatible_data_error_lists_alternatives(data: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        compose.compose(["model=multimodal", f"data={data}"])
    assert "multimodal works with: " in str(caught.value)
    assert "mod3" in str(caught.value)
