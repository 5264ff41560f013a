"""Parameters that depend on the number of classes are found by building the model with another one."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.marks import mark_slow_after
from tests.helpers.pairs import FITTING, LARGE, MODELS, Pair, make_pair, missing_reason
from trainer.engine.resized_parameters import CLASS_SIZES, find_resized_parameters

CLASS_DATA = ("moons", "first_token", "index_lookup", "neighbor_sum", "gratings", "digit_canvas", "moving_blob")
"""Data sets with classes, of every shape of inputs that classifiers have."""
CLASSIFIERS = {
    model: data
    for model in sorted(MODELS)
    for data in reversed((*CLASS_DATA, "edge_list", "edge_list_graphs", "simulated_bold"))
    if (model, data) in FITTING
    and (model, data) != ("pretrained", "gratings")  # which reports no values of black and white
    and data not in LARGE
    and missing_reason(data) is None
    and MODELS[model].task_name in (None, "classification", "segmentation")
}


def find(pair: Pair, *sizes: str) -> set[str]:
    return find_resized_parameters(pair.config.tree, pair.data, pair.config.names, sizes)


@pytest.mark.parametrize(("model", "data"), mark_slow_after(3, CLASSIFIERS.items()))
def test_the_output_layer_of_every_classifier_is_found_and_nothing_is_drawn(model: str, data: str) -> None:
    pair = make_pair(model, data)
    state, weights = torch.get_rng_state(), {name: value.clone() for name, value in pair.task.state_dict().items()}
    found = find(pair, *CLASS_SIZES)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, weights[name]) for name, value in pair.task.state_dict().items())
    assert found
    assert len(found) < len(weights)
    widths = {pair.data.info.sizes[key] for key in CLASS_SIZES if key in pair.data.info.sizes}
    assert all(widths & {*weights[name].shape} for name in found)
    # The bias of the logits is among them, and it is the last one.
    last_bias = [name for name in weights if name.endswith("bias") and widths & {*weights[name].shape}][-1:]
    assert {*last_bias} <= found


def test_class_embeddings_of_a_conditional_generator_are_found() -> None:
    pair = make_pair("cgan", "ring")
    assert find(pair, *CLASS_SIZES) == {
        "model.critic.class_embedding.weight",
        "model.generator.class_embedding.weight",
    }


def test_a_number_of_classes_that_is_written_out_is_found() -> None:
    pair = make_pair("vae", "ring", "model.num_classes=8")
    assert find(pair, *CLASS_SIZES)
    assert find(make_pair("vae", "ring"), *CLASS_SIZES) == set()


def test_embeddings_of_a_vocabulary_are_found() -> None:
    pair = make_pair("text_lstm", "index_lookup")
    assert find(pair, "vocab_size") == {"model.embedding.weight"}
    assert find(pair) == set()


def test_one_logit_of_two_classes_is_found() -> None:
    pair = make_pair("mlp", "moons")
    assert pair.data.info.sizes["out_features"] == 1
    found = find(pair, *CLASS_SIZES)
    assert {tuple(pair.task.state_dict()[name].shape) for name in found} == {(1,), (1, 32)}
    assert find(pair, "flat_features") == {"model.layers.0.weight"}
