"""Full-size trainings and the bounds on their test scores, executed by ``run.py``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gate:
    """A command, and bounds on its test scores: ``(score, at least, at most)``; None is no bound.

    ``folds`` > 1 runs every fold of a cross-validation for each seed; ``seconds`` bound a single run. ``source`` is the
    command of a run that is trained before with the same seed; ``RUN`` in the command is its run directory.
    """

    command: str
    bounds: tuple[tuple[str, float | None, float | None], ...]
    seconds: float = 60.0
    seeds: int = 1
    folds: int = 1
    source: str = ""


def at_least(score: str, value: float) -> tuple[str, float | None, float | None]:
    return score, value, None


def at_most(score: str, value: float) -> tuple[str, float | None, float | None]:
    return score, None, value


SEQUENCE_MODELS = ("rnn", "lstm", "gru", "birnn", "nested_rnn", "transformer")
SMALL_DATA = "model.pool=max optimizer.lr=1e-2 epochs=100"
FORGET_BIAS = "model=lstm data=first_token data.length=20 epochs=4 model.forget_bias"
DIGITS = (
    *(("cnn", 0.97, 60), ("lenet", 0.97, 60), ("alexnet", 0.965, 90), ("vgg", 0.965, 90), ("mobilenet", 0.95, 90)),
    *(("efficientnet", 0.975, 150), ("gated_cnn", 0.97, 60), ("attention_cnn", 0.97, 60), ("dynamic_cnn", 0.97, 60)),
    ("hybrid_cnn_transformer", 0.97, 60),
)
FEW_DIGITS = "model=cnn data=digits data.classes=[5,6,7,8,9] data.train_rows=100"
ISBI_IOU = (at_least("iou_cell", 0.85), at_least("iou_membrane", 0.5))
ANY_IOU = (at_least("iou_cell", 0.0), at_least("iou_membrane", 0.0))
DEEP_UNET = "model.widths=[32,64,128,256]"
RING_BOUNDS = (at_least("within", 0.8), at_least("modes", 8), at_most("energy_distance", 0.02))
FORECASTERS = ("dlinear", "gru_forecaster", "patch_transformer")
NODE_MODELS = ("gcn", "gat", "gnn", "mean_gnn", "sage", "gin")
LINK_MODELS = ("link_predictor", "graph_generator", "graph_vae")
CLICK_MODELS = ("matrix_factorization", "bipartite_gnn")
FORCING = ("1.0", "0.5", "0.0", "linear", "exponential", "inverse_sigmoid")
ADULT = (
    "model=mlp data=csv data.path={data}/adult/adult-train.csv data.test_path={data}/adult/adult-test.csv"
    " data.target=-1"
)
CONFORMAL = (
    (ADULT, 3, 60),
    ("model=cnn data=digits data.size=8 augment=none", 10, 60),
    ("model=mlp data=synthetic_tabular", 5, 60),
    ("model=mlp data=moons", 5, 60),
    ("model=lstm data=synthetic_seq", 3, 60),
    ("model=dlinear data=sine_trend", 3, 60),
    ("model=gru data=adding", 2, 120),
)
"""Commands, seeds and seconds of conformal sets and intervals."""
GATES = [
    Gate("model=mlp data=synthetic_tabular", (at_least("accuracy", 0.88), at_most("nll", 0.29))),
    Gate("model=mlp data=moons", (at_least("accuracy", 0.96),)),
    Gate("model=mlp data=xor20", (at_least("accuracy", 0.89),)),
    *(Gate(f"model={name} data=synthetic_seq", (at_least("accuracy", 0.87),)) for name in SEQUENCE_MODELS),
    Gate("model=birnn data=first_plus_last", (at_most("mse", 0.01),)),
    Gate("model=birnn data=first_token", (at_least("accuracy", 0.99),), seeds=2),
    *(Gate(f"model={name} data=adding", (at_most("mse", 0.005),), seconds=120) for name in ("lstm", "gru")),
    Gate("model=gru data=var_len_sum", (at_most("mse", 0.01),), seconds=120),
    # Control: the same run with a forget bias of zero does not remember.
    Gate(f"{FORGET_BIAS}=3", (at_least("accuracy", 0.99),), seeds=2),
    Gate(f"{FORGET_BIAS}=0", (at_most("accuracy", 0.5),), seeds=2),
    *(Gate(f"model={name} data=temporal_order", (at_least("accuracy", 0.99),)) for name in ("text_lstm", "text_gru")),
    Gate("model=bilstm_tagger data=neighbor_sum", (at_least("accuracy", 0.99),), seeds=2),
    Gate("model=neural_ode data=damped_oscillator", (at_most("mse", 0.02),), seeds=2),
    # Control: without positions, the token at an index cannot be predicted.
    Gate("model=token_transformer data=index_lookup", (at_least("accuracy", 0.98),), seeds=3),
    Gate("model=token_transformer data=index_lookup model.positions=none", (at_most("accuracy", 0.4),)),
    Gate("model=transformer data=ucr", (at_least("accuracy", 0.95),), seeds=5),
    Gate("model=bigru data=ucr model.dropout=0.5", (at_least("accuracy", 0.95),), seeds=5),
    *(
        Gate(f"model=bigru data=ucr data.name={name} {SMALL_DATA}", (at_least("accuracy", threshold),), seconds=120)
        for name, threshold in (("GunPoint", 0.9), ("BasicMotions", 0.9), ("ItalyPowerDemand", 0.94))
    ),
    Gate("model=lstm data=mnist_rows", (at_least("accuracy", 0.97),), seconds=300),
    *(
        Gate(f"model=seq2seq data=reverse task.teacher_forcing={ratio}", (at_least("token_accuracy", 0.97),))
        for ratio in FORCING
    ),
    Gate(
        "model=seq2seq data=reverse task.teacher_forcing=linear task.teacher_forcing_per=sequence",
        (at_least("token_accuracy", 0.97),),
    ),
    Gate("model=transformer_seq2seq data=reverse", (at_least("token_accuracy", 0.97),), seeds=2),
    *(Gate(f"model={name} data=sine_trend", (at_most("mse", 0.02),)) for name in FORECASTERS),
    # Published for this horizon: .370 (PatchTST). A longer stride halves the patches and the time.
    *(
        Gate(f"model={overrides}", (at_most("mse", 0.40), at_most("mae", 0.42)), seconds=600)
        for overrides in (
            "dlinear data=etth1",
            "gru_forecaster data=etth1",
            "patch_transformer data=etth1 model.stride=16 scheduler=onecycle epochs=3",
        )
    ),
    # Half the error of repeating last year, and well below that of repeating the last value.
    *(Gate(f"model={name} data=classic_series", (at_most("mse", 1250),), seeds=3) for name in FORECASTERS),
    Gate("model=dlinear data=classic_series data.name=sunspots", (at_most("mse", 800),), seeds=3),
    Gate("model=gru_forecaster data=classic_series data.name=sunspots", (at_most("mse", 700),), seeds=3),
    Gate(
        "model=gru_forecaster data=classic_series data.name=pollution",
        (at_most("mse", 5700), at_most("mae", 49.0)),
        seeds=3,
    ),
    Gate("model=cnn data=gratings", (at_least("accuracy", 0.98),)),
    Gate("model=mlp data=gratings model.hidden=[]", (at_most("accuracy", 0.2),)),
    *(
        Gate(f"model={name} data=digits", (at_least("accuracy", threshold),), seconds=seconds, seeds=2)
        for name, threshold, seconds in DIGITS
    ),
    # 100 labels of the digits 5 to 9: the convolutions that were trained on 0 to 4 are worth more than four points.
    Gate(FEW_DIGITS, (at_most("accuracy", 0.92),), seeds=3),
    Gate(
        f'{FEW_DIGITS} init_from=RUN freeze=["trunk.*"] init_skip=["head.*"]',
        (at_least("accuracy", 0.945),),
        seeds=3,
        source="model=cnn data=digits data.classes=[0,1,2,3,4]",
    ),
    Gate("model=cnn data=mnist", (at_least("accuracy", 0.99),), seconds=300),
    Gate("model=resnet data=mnist", (at_least("accuracy", 0.99),), seconds=600),
    Gate("model=vit_tiny data=mnist", (at_least("accuracy", 0.97),), seconds=600),
    Gate("model=conv_lstm data=moving_blob", (at_least("accuracy", 0.95),), seeds=2),
    *(
        Gate(f"model=multimodal data=mod3 model.fusion={fusion}", (at_least("accuracy", 0.95),), seeds=2)
        for fusion in ("concat", "gate", "cross_attention")
    ),
    # Control: concatenation without hidden layers is additive in its inputs.
    Gate("model=multimodal data=mod3 model.cell=rnn model.hidden=[]", (at_most("accuracy", 0.4),)),
    Gate("model=unet data=digit_canvas", (at_least("mean_iou", 0.45), at_least("iou_background", 0.95)), seeds=3),
    Gate("model=unet data=digit_canvas model.skips=false", (at_least("mean_iou", 0.45),), seeds=3),
    Gate("model=unet data=isbi2012", (at_least("pixel_accuracy", 0.9), *ISBI_IOU), seconds=600),
    Gate(f"model=unet data=isbi2012 {DEEP_UNET}", (at_least("pixel_accuracy", 0.91), *ISBI_IOU), seconds=600, seeds=3),
    # Control: zeros in place of the skips; the bound is the measured score.
    Gate(
        f"model=unet data=isbi2012 {DEEP_UNET} model.skips=false",
        (at_least("pixel_accuracy", 0.81), *ANY_IOU),
        600,
        seeds=3,
    ),
    *(Gate(f"model={name} data=sbm", (at_least("accuracy", 0.75),), seeds=3) for name in NODE_MODELS),
    Gate("model=mlp data=sbm", (at_most("accuracy", 0.6),), seeds=3),
    Gate("model=gcn data=cora", (at_least("accuracy", 0.815),), seeds=10),
    Gate("model=gat data=cora", (at_least("accuracy", 0.82),), seeds=10),
    Gate("model=gat data=cora model.version=v2", (at_least("accuracy", 0.80),), seeds=3),
    Gate("model=gcn data=citeseer", (at_least("accuracy", 0.70),), seeds=10),
    Gate("model=gat data=citeseer", (at_least("accuracy", 0.69),), seeds=3),
    Gate("model=sage data=cora data.num_neighbors=[15,10] epochs=60", (at_least("accuracy", 0.78),), seeds=2),
    Gate("model=gcn data=karate", (at_least("accuracy", 0.6),), seeds=3),
    # A model that reads edge features, and a control that does not.
    Gate("model=edge_gnn data=edge_signal", (at_least("r2", 0.8),), seeds=3),
    Gate("model=sage data=edge_signal model.dropout=0", (at_most("r2", 0.1),), seeds=3),
    Gate("model=rgcn data=relation_sign", (at_least("accuracy", 0.88),), seeds=3),
    Gate("model=gcn data=relation_sign", (at_most("accuracy", 0.6),), seeds=3),
    Gate("model=graph_net data=esol_like", (at_most("rmse", 0.22),), seeds=2),
    Gate("model=graph_net data=esol_like model.conv=none", (at_least("rmse", 0.23),), seeds=2),
    Gate("model=graph_net data=esol", (at_most("rmse", 0.70),), seeds=3),
    Gate("model=graph_net data=tu_mutag model.pool=mean", (at_least("accuracy", 0.85),), folds=10),
    Gate("model=graph_net data=tu_proteins", (at_least("accuracy", 0.72),), seconds=120, folds=10),
    *(Gate(f"model={name} data=sbm_pairs", (at_least("auc", 0.65),), seeds=3) for name in LINK_MODELS),
    # Controls: embeddings without a graph, and an additive decoder.
    Gate("model=matrix_factorization data=sbm_pairs", (at_most("auc", 0.6),), seeds=3),
    Gate("model=graph_generator data=sbm_pairs model.decoder=linear", (at_most("auc", 0.6),), seeds=3),
    *(Gate(f"model={name} data=clicks", (at_least("auc", 0.84),), seeds=3) for name in CLICK_MODELS),
    # Published for DistMult: mrr .43, hits@10 .49 (Dettmers et al. 2018).
    Gate("model=distmult data=wn18rr", (at_least("mrr", 0.41), at_least("hits_at_10", 0.47)), seconds=600),
    Gate("model=distmult data=kinship", (at_least("mrr", 0.68), at_least("hits_at_10", 0.9)), seeds=2),
    Gate(
        "model=distmult data=kinship model.score=complex",
        (at_least("mrr", 0.82), at_least("hits_at_10", 0.97)),
        seeds=2,
    ),
    Gate("model=rgcn_distmult data=kinship", (at_least("mrr", 0.65),)),
    *(Gate(f"model={name} data=nations", (at_least("mrr", 0.77),), seeds=2) for name in ("distmult", "rgcn_distmult")),
    Gate("model=brain data=simulated_bold", (at_least("accuracy", 0.9),), seeds=3),
    Gate("model=gcn_lstm data=chickenpox", (at_most("mse", 1.05),), seeds=3),
    *(
        Gate(f"model={name} data=chickenpox", (at_most("mse", 1.05),), seeds=3)
        for name in ("gru_forecaster", "dlinear")
    ),
    Gate("model=gcn_lstm data=pedalme data.history=4", (at_most("mse", 1.22),), seeds=3),
    Gate("model=bag_of_words data=review_polarity", (at_least("accuracy", 0.80),), seeds=3),
    Gate(
        "model=seq2seq data=multi30k model.hidden_size=256 model.embed_size=128 model.dropout=0.2 task.beam_size=4",
        (at_least("bleu", 20.0), at_least("beam_bleu", 20.0)),
        seconds=1500,
    ),
    Gate("model=char_lstm data=tinyshakespeare", (at_most("nll", 1.75),), seconds=600),
    Gate("model=gpt data=tinyshakespeare", (at_most("nll", 1.75),), seconds=900),
    # A larger beta uses less of the latent code.
    Gate("model=vae data=linear_gaussian", (("gap", 0.0, 0.6), ("kl", 7.0, 10.0)), seeds=3),
    Gate("model=vae data=linear_gaussian task.beta=4", (("kl", 2.0, 5.0),), seeds=3),
    Gate("model=binary_vae data=mnist", (at_least("iw_bound", -105.0),), seconds=900),
    Gate(
        "model=conv_vae data=digits data.size=8 model.num_classes=??? epochs=100 val_every=25",
        (at_least("label_accuracy", 0.90), at_most("frechet", 40.0)),
        seconds=300,
        seeds=3,
    ),
    Gate(
        "model=vq_vae data=clusters16",
        (at_most("mse", 0.08), at_least("codebook_perplexity", 14), at_least("modes", 16)),
        seeds=5,
    ),
    # k-means alone: two clusters share a code.
    Gate("model=vq_vae data=clusters16 model.restarts=false", (at_most("codebook_perplexity", 14),), seeds=2),
    Gate("model=vq_vae data=clusters16 model.num_classes=16", (at_least("label_accuracy", 0.95),)),
    Gate(
        "model=vq_vae_conv data=digits model.num_classes=10",
        (at_least("label_accuracy", 0.9), at_most("mse", 0.02), at_most("frechet", 60)),
        seconds=300,
    ),
    *(
        Gate(f"model=diffusion data=ring{overrides}", RING_BOUNDS, seconds=120, seeds=seeds)
        for overrides, seeds in (
            ("", 3),
            (" task=flow_matching", 3),
            (" task.sampler=ddpm val_every=100", 1),
            (" task.schedule=linear task.prediction=eps", 3),
        )
    ),
    Gate(
        "model=diffusion_unet data=digits data.size=8 model.num_classes=10",
        (at_least("label_accuracy", 0.9), at_most("frechet", 40)),
        seconds=300,
        seeds=2,
    ),
    Gate(
        "model=diffusion_unet data=digits data.size=8 model.num_classes=10 task=flow_matching",
        (at_least("label_accuracy", 0.9), at_most("frechet", 40)),
        seconds=300,
    ),
    Gate(
        "model=real_nvp data=ring",
        (("gap", 0.0, 0.3), at_least("modes", 8), at_most("energy_distance", 0.02)),
        seconds=120,
        seeds=2,
    ),
    Gate(
        "model=real_nvp data=swiss_roll",
        (("gap", 0.0, 0.15), at_most("energy_distance", 0.02)),
        seconds=120,
        seeds=2,
    ),
    Gate("model=real_nvp data=linear_gaussian", (("gap", 0.0, 0.3),), seeds=2),
    # Controls: without blocks, each feature is an independent Gaussian.
    Gate("model=real_nvp data=swiss_roll model.blocks=0", (at_least("gap", 1.0),)),
    Gate("model=real_nvp data=linear_gaussian model.blocks=0", (at_least("gap", 15.0),)),
    Gate("model=wgan_gp data=ring", (at_least("modes", 8), at_most("energy_distance", 0.03)), seeds=3),
    # Control: the generator is never updated.
    Gate(
        "model=wgan_gp data=ring task.critic_steps=1000000 epochs=5",
        (at_most("modes", 0), at_least("energy_distance", 0.5)),
    ),
    Gate(
        "model=cgan data=ring",
        (at_least("label_accuracy", 0.95), at_least("modes", 8), at_most("energy_distance", 0.03)),
        seeds=2,
    ),
    Gate(
        "model=dcgan data=digits data.size=8 model.num_classes=10 model.widths=[32,64] epochs=100",
        (at_least("label_accuracy", 0.90), at_most("frechet", 25)),
        seconds=300,
        seeds=2,
    ),
    Gate("model=dcgan data=digits", (at_most("frechet", 80), at_least("recall", 0.8)), seconds=400),
    Gate("model=style_gan data=digits", (at_most("frechet", 60), at_least("recall", 0.5)), seconds=600),
    Gate(
        "model=wgan_gp data=ring grad_clip=1 scheduler=onecycle",
        (at_least("modes", 8), at_most("energy_distance", 0.03)),
    ),
    # scikit-learn's logistic regression (.9825, .9722), and ridge (.4401), on the same rows, minus one point.
    Gate("model=mlp data=breast_cancer", (at_least("accuracy", 0.9725),), seeds=3),
    Gate("model=mlp data=wine", (at_least("accuracy", 0.9622),), seeds=3),
    Gate("model=mlp data=diabetes", (at_least("r2", 0.4301),), seeds=3),
    Gate(ADULT, (at_least("accuracy", 0.845),)),
    # Coverage is a promise about new splits of the rows, so that every seed splits them anew.
    *(
        Gate(f"{command} task.coverage=0.9 data.seed=${{{{seed}}}}", (("coverage", 0.885, 0.915),), seconds, seeds)
        for command, seeds, seconds in CONFORMAL
    ),
]
