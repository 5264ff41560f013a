"""Runs of many families that are broken on purpose, and healthy ones: others than those the rules were made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.helpers.diagnosed_runs import train_run

SEEDS_CASE = "gcn, seed noise"
PLUGINS = "plugins=[family_models]"
SEQUENCES = "data=synthetic_seq data.rows=400"
TRANSFORMER = "model=transformer model.width=16 model.heads=2 model.hidden=32 model.layers=1"
IMAGES = (
    "model=cnn model.channels=[8,16,16] model.hidden=[32] data=image_folder data.path=images data.size=16 augment=none"
)
GPT = "model=gpt model.width=32 model.heads=2 model.layers=2 model.hidden=64 data=text_file data.seq_len=32"
REVERSE = "model=seq2seq model.hidden_size=32 data=reverse"
REGRESSION = "model=mlp data=csv data.path=regression.csv data.target=target task=regression"
SERIES = "data=csv_series data.path=series.csv"
TEXTS = "model=bag_of_words data=text_folder data.path="
SAMPLES = "task.samples=50 task.classifier=null"
TOO_LARGE = {"learning rate", "exploding"}
"""Names of a rate that is far too large."""
BROKEN: Mapping[str, tuple[set[str], str]] = {
    "cnn, tiny rate": ({"learning rate"}, f"{IMAGES} epochs=5 optimizer.lr=1e-9"),
    "gcn, tiny rate": ({"learning rate"}, "model=gcn data=sbm epochs=40 optimizer.lr=1e-8"),
    "forecaster, tiny rate": ({"learning rate"}, f"model=gru_forecaster {SERIES} max_steps=100 optimizer.lr=1e-9"),
    "vae, tiny rate": ({"learning rate"}, f"model=vae data=digits epochs=5 optimizer.lr=1e-9 {SAMPLES}"),
    "gan, tiny rate": (
        {"learning rate"},
        f"model=wgan_gp data=ring data.rows=500 max_steps=200 val_every=2 optimizer.lr=1e-9 {SAMPLES}",
    ),
    "transformer, huge rate": (TOO_LARGE, f"{TRANSFORMER} {SEQUENCES} epochs=8 optimizer.lr=10"),
    "seq2seq, huge rate": (TOO_LARGE, f"{REVERSE} data.rows=300 epochs=6 optimizer.lr=30"),
    "forecaster, explodes": ({"exploding"}, f"model=dlinear {SERIES} optimizer=sgd optimizer.lr=1e3"),
    "flow, explodes": (
        TOO_LARGE,
        "model=real_nvp data=moons task=density data.rows=400 optimizer.lr=100 grad_clip=null",
    ),
    "regression, explodes": ({"exploding"}, f"{REGRESSION} optimizer=sgd optimizer.lr=100"),
    "gru, a row without a value": ({"NaN"}, f"{PLUGINS} model=ratio_gru data=synthetic_seq data.rows=1200 epochs=3"),
    "gru, skipped rows": (
        {"NaN"},
        f"{PLUGINS} model=ratio_gru data=synthetic_seq data.rows=1200 epochs=3 on_nonfinite=skip",
    ),
    "cnn, dead units": (
        {"dead units"},
        f"{PLUGINS} model=shifted_cnn data=image_folder data.path=images data.size=16 epochs=3",
    ),
    "gru, stuck gates": ({"saturated gates"}, f"{PLUGINS} model=stuck_gru {SEQUENCES} epochs=3"),
    "texts, random labels": ({"not learning", "over-fitting"}, f"{TEXTS}texts_random.tsv epochs=20"),
    "texts, wrong labels": ({"label noise"}, f"{TEXTS}texts_flipped.tsv epochs=30"),
    "texts, copied rows": ({"leakage"}, f"{TEXTS}texts_twice.tsv epochs=20"),
    "texts, rare class": ({"imbalance"}, f"{TEXTS}texts_rare.tsv epochs=20"),
    "images, copied rows": ({"leakage"}, f"{IMAGES} data.path=images_twice epochs=10"),
    "images, slow files": (
        {"data starved"},
        f"{IMAGES} data.path=images_large data.cache_gb=0 batch_size=128 epochs=10",
    ),
    "language model, over-fitting": ({"over-fitting"}, f"{GPT} data.path=noise.txt epochs=100 optimizer.lr=1e-2"),
    "transformer, over-fitting": (
        {"over-fitting"},
        f"{TRANSFORMER} model.dropout=0.0 data=synthetic_seq data.rows=200 epochs=80 optimizer.lr=1e-2 monitor=nll",
    ),
    "seq2seq, too short": ({"under-trained"}, f"{REVERSE} data.rows=500 data.length=5 epochs=8 scheduler=none"),
    "language model, too short": ({"under-trained"}, f"{GPT} data.path=book.txt epochs=12 scheduler=none"),
    "links, few steps": (
        {"under-trained", "not learning"},
        "model=link_predictor data=sbm_pairs epochs=8 optimizer.lr=1e-3 patience=null",
    ),
}
"""Rules of which one has to notice, and the overrides of a run."""
HEALTHY: Mapping[str, str] = {
    "cnn": f"{IMAGES} epochs=12",
    "resnet": "model=resnet model.width_multiplier=0.125 data=digits data.size=8 augment=none epochs=6",
    "gru": "model=gru data=synthetic_seq data.rows=1500 epochs=8 scheduler=cosine",
    "bag of words": f"{TEXTS}texts.tsv epochs=40",
    "text gru": "model=text_gru model.hidden_size=16 data=text_folder data.path=texts.tsv epochs=25",
    "language model": f"{GPT} data.path=book.txt epochs=60 optimizer.lr=1e-2",
    "flow": "model=real_nvp data=moons task=density data.rows=600",
    "gat": "model=gat data=sbm epochs=150",
    "sage": "model=sage data=sbm epochs=100",
    "graph regression": "model=graph_net data=esol_like model.hidden=[16,16] epochs=40",
    "regression": f"{REGRESSION} epochs=60",
    "forecaster": f"model=gru_forecaster {SERIES} max_steps=500",
    "matrix factorization": (
        "model=matrix_factorization data=clicks data.users=80 data.items=50 epochs=100 monitor=nll patience=5"
    ),
    "segmentation": "model=unet model.widths=[8,16] data=digit_canvas data.rows=120 epochs=12",
    "links": "model=link_predictor data=sbm_pairs monitor=nll patience=20",
    "conv_vae": f"model=conv_vae data=digits data.size=8 epochs=30 {SAMPLES}",
    "multimodal": "model=multimodal data=mod3 data.rows=1500 epochs=15 monitor=nll patience=3",
}
"""Runs that are trained to the end, and of which nothing is unusual."""


def train_similar_gnns(name: str) -> Path:
    """Return the better one of two settings of a GCN whose difference is chance, each with three seeds."""
    scores: dict[float, Path] = {}
    for dropout in ("0.3", "0.31"):
        words = ("model=gcn", "data=sbm", "epochs=60", f"model.dropout={dropout}")
        paths = [train_run(f"{name}/{dropout}-{seed}", *words, f"seed={seed}") for seed in range(3)]
        results = [json.loads((path / "results.json").read_text()) for path in paths]
        scores[sum(each["test"]["nll"] for each in results)] = paths[0]
    return scores[min(scores)]
