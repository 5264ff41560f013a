"""Runs of every family on own files, with what is needed to predict their test rows and to score them outside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from tests.helpers import item_files as files
from tests.helpers import linked_item_files as linked
from tests.helpers import outside_scores as outside
from tests.helpers import real_data, saved_model
from tests.helpers.item_files import TestItems


class PredictionCase(NamedTuple):
    """A run whose test rows are predicted from a file.

    Attributes:
        family: Family of the model and kind of its data.
        overrides: Model, data set and task of the run, without its files.
        make: Function that writes the training files into a folder and returns the test items.
        score: Function of predictions and targets to scores.
        command: Command that writes a row for each item.
        options: Options of the command.
        writes_masks: Whether the output is a directory with masks.
    """

    family: str
    overrides: tuple[str, ...]
    make: Callable[[Path], TestItems]
    score: Callable[[pd.DataFrame, Sequence[Any]], outside.Scores]
    command: str = "predict"
    options: tuple[str, ...] = ()
    writes_masks: bool = False


CSV_MLP = ("model=mlp", "data=csv")
LONGER = ("epochs=12", "batch_size=16")
"""Overrides of runs that would score 0 after the epochs of the others."""
CLASS_SCORES = "task.scores=[accuracy,nll,f1,balanced_accuracy,mcc,macro_precision,macro_recall,perplexity,ece]"
PAIR_SCORES = "task.scores=[auc,accuracy,nll,f1,average_precision]"
LABELS, PRICES = (partial(files.make_table, target=target) for target in ("label", "price"))


def _make_unlabeled_table(folder: Path) -> TestItems:
    """Return the table without a target, for models of the rows themselves."""
    items = files.make_table(folder, "label")
    keys = [key for key in items.overrides if "target" not in key and "drop" not in key]
    drop = "data.drop_columns=[label,price]"
    return TestItems((*keys, "data.target=null", drop), ["row"] * len(items.truth), items.write)


def _add_saved_model(folder: Path, save: Callable[[Path], Path], make: Callable[[Path], TestItems]) -> TestItems:
    """Write files and, beside them, a pretrained model, which is deleted with them."""
    items = make(folder)
    (folder / "pretrained").mkdir()
    return replace(items, overrides=(*items.overrides, f"model.name={save(folder / 'pretrained')}"))


CLASSES = {
    "csv_mlp": ("tabular, classes", (*CSV_MLP, CLASS_SCORES), LABELS),
    "csv_multimodal": ("multimodal, classes", ("model=multimodal", "data=csv", CLASS_SCORES), LABELS),
    "csv_decisions": (
        "tabular, decisions",
        (*CSV_MLP, CLASS_SCORES, "task.class_weights=balanced", "task.calibration=temperature", "task.coverage=0.8"),
        LABELS,
    ),
    "image_cnn": ("images, CNN", ("model=cnn", "data=image_folder", CLASS_SCORES), files.make_images),
    "image_resnet": ("images, ResNet", ("model=resnet", "data=image_folder", CLASS_SCORES), files.make_images),
    "image_vit": ("images, ViT", ("model=vit_tiny", "data=image_folder", CLASS_SCORES), files.make_images),
    "image_hybrid": (
        "images, hybrid",
        ("model=hybrid_cnn_transformer", "data=image_folder", CLASS_SCORES),
        files.make_images,
    ),
    "image_cnn_lstm": ("images, CNN-LSTM", ("model=cnn_lstm", "data=image_folder", CLASS_SCORES), files.make_images),
    "image_multimodal": ("images, multimodal", ("model=multimodal", "data=image_folder"), files.make_images),
    "idx_lenet": ("images, IDX files", ("model=lenet", "data=idx", CLASS_SCORES), files.make_idx_files),
    "image_pretrained": (
        "images, pretrained",
        ("model=pretrained", "data=image_folder"),
        partial(_add_saved_model, save=partial(saved_model.save_images, kind="vit"), make=files.make_images),
    ),
    "text_pretrained": (
        "text, pretrained",
        # No ranks: to the few words of its vocabulary many texts are the same, and rounding decides their order.
        ("model=pretrained", "data=text_folder", "data.max_length=16"),
        partial(_add_saved_model, save=saved_model.save, make=partial(files.make_documents, as_lines=True)),
    ),
    "text_transformer": (
        "text, transformer",
        ("model=token_transformer", "data=text_folder", PAIR_SCORES),
        partial(files.make_documents, as_lines=True),
    ),
    "text_bag": (
        "text, lines",
        ("model=bag_of_words", "data=text_folder", PAIR_SCORES),
        partial(files.make_documents, as_lines=True),
    ),
    "text_lstm": (
        "text, documents",
        ("model=text_lstm", "data=text_folder", PAIR_SCORES),
        partial(files.make_documents, as_lines=False),
    ),
    "ucr_lstm": ("series, LSTM", ("model=lstm", "data=ucr", PAIR_SCORES), linked.make_waves),
    "ucr_transformer": ("series, transformer", ("model=transformer", "data=ucr", PAIR_SCORES), linked.make_waves),
    "ucr_attention": ("series, attention", ("model=attention_rnn", "data=ucr", PAIR_SCORES), linked.make_waves),
    "brain": ("brain, regions", ("model=brain", "data=parcel_series", PAIR_SCORES), linked.make_region_tables),
    "nodes_gcn": ("graph, nodes", ("model=gcn", "data=edge_list"), partial(linked.make_nodes, target="label")),
    "nodes_gat": ("graph, nodes", ("model=gat", "data=edge_list"), partial(linked.make_nodes, target="label")),
    "nodes_sampled": (
        "graph, neighbors",
        ("model=sage", "data=edge_list", "data.num_neighbors=[4,4]"),
        partial(linked.make_nodes, target="label"),
    ),
    "graphs": ("graph, graphs", ("model=graph_net", "data=edge_list_graphs", PAIR_SCORES), linked.make_graphs),
    "collection": ("graph, TU", ("model=graph_net", "data=tu"), linked.make_collection),
    "clicks_mf": ("recommendation", ("model=matrix_factorization", "data=click_file"), linked.make_clicks),
    "clicks_gnn": ("links", ("model=bipartite_gnn", "data=click_file"), linked.make_clicks),
}
REAL = {
    "csv_adult": ("adult", ("tabular, Adult", (*CSV_MLP, CLASS_SCORES), files.make_census)),
    "ucr_vowels": ("ucr", ("series, vowels", ("model=gru", "data=ucr", CLASS_SCORES), linked.make_vowels)),
}
"""Cases of classes on real data, with the folder of the data."""
OTHERS = {
    "csv_numbers": PredictionCase("tabular, numbers", (*CSV_MLP, "task=regression"), PRICES, outside.score_numbers),
    "csv_intervals": PredictionCase(
        "tabular, intervals",
        (*CSV_MLP, "task=regression", "task.coverage=0.8"),
        PRICES,
        outside.score_numbers,
    ),
    "masks": PredictionCase(
        "segmentation",
        ("model=unet", "data=image_masks", "model.widths=[8,16]"),
        files.make_masks,
        outside.score_masks,
        writes_masks=True,
    ),
    "series_dlinear": PredictionCase(
        "forecast, linear",
        ("model=dlinear", "data=csv_series"),
        partial(linked.make_series, names=("load",)),
        outside.score_forecasts,
        options=("rolling=true",),
    ),
    "series_gru": PredictionCase(
        "forecast, GRU",
        ("model=gru_forecaster", "data=csv_series"),
        partial(linked.make_series, names=("load", "price")),
        outside.score_forecasts,
        options=("rolling=true",),
    ),
    "series_transformer": PredictionCase(
        "forecast, transformer",
        ("model=patch_transformer", "data=csv_series"),
        partial(linked.make_series, names=("load", "price")),
        outside.score_forecasts,
        options=("rolling=true",),
    ),
    "characters_lstm": PredictionCase(
        "language, LSTM",
        ("model=char_lstm", "data=text_file"),
        partial(files.make_prompts, seq_len=24),
        outside.score_continuations,
        options=("length=1",),
    ),
    "characters_gpt": PredictionCase(
        "language, GPT",
        ("model=gpt", "data=text_file"),
        partial(files.make_prompts, seq_len=24),
        outside.score_continuations,
        options=("length=1",),
    ),
    "pairs_lstm": PredictionCase(
        "translation, LSTM",
        ("model=seq2seq", "data=pairs", *LONGER),
        files.make_sentence_pairs,
        outside.score_translations,
    ),
    "pairs_transformer": PredictionCase(
        "translation, transformer",
        ("model=transformer_seq2seq", "data=pairs", *LONGER),
        files.make_sentence_pairs,
        outside.score_translations,
    ),
    "nodes_numbers": PredictionCase(
        "graph, node numbers",
        ("model=gcn", "data=edge_list", "task=regression"),
        partial(linked.make_nodes, target="size"),
        outside.score_numbers,
    ),
    "triples_distmult": PredictionCase(
        "triples", ("model=distmult", "data=triples", *LONGER), linked.make_triples, outside.score_ranks
    ),
    "triples_rgcn": PredictionCase(
        "triples, R-GCN", ("model=rgcn_distmult", "data=triples", *LONGER), linked.make_triples, outside.score_ranks
    ),
}
GENERATIVE = {
    name: PredictionCase(f"generative, {model}", (f"model={model}", f"data={data}"), make, score, command="score")
    for name, model, data, make, score in (
        ("csv_flow", "real_nvp", "csv", _make_unlabeled_table, outside.score_nothing),
        ("csv_vae", "vae", "csv", _make_unlabeled_table, outside.score_divergences),
        ("csv_diffusion", "diffusion", "csv", _make_unlabeled_table, outside.score_nothing),
        ("csv_gan", "gan", "csv", _make_unlabeled_table, outside.score_nothing),
        ("csv_vq_vae", "vq_vae", "csv", _make_unlabeled_table, outside.score_reconstructions),
        ("image_diffusion", "diffusion_unet", "image_folder", files.make_images, outside.score_nothing),
        ("image_gan", "dcgan", "image_folder", files.make_images, outside.score_nothing),
        ("image_vae", "conv_vae", "image_folder", files.make_images, outside.score_divergences),
    )
}
CLASSES |= {name: case for name, (folder, case) in REAL.items() if real_data.missing_reason(folder) is None}
CASES = {name: PredictionCase(*case, outside.score_classes) for name, case in CLASSES.items()} | OTHERS | GENERATIVE
