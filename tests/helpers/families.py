"""One small run of each model family, with the options that a step may have."""

from __future__ import annotations

from tests.helpers.own_files import OWN_FILES, collection, graph_tables, hours, pictures, texts

COMMON = ("scheduler=onecycle", "ema=0.9", "grad_clip=1.0", "epochs=3")
TEXTS, TRIPLES = texts(), OWN_FILES["triples"]["path"]()
BLOCKS = ("model.width=8", "model.heads=2", "model.hidden=16", "model.layers=1", "model.dropout=0.2")
DENOISER = (
    *("model.width=4", "model.blocks=1", "model.num_classes=8", "data=ring", "data.rows=60", "batch_size=8"),
    *("max_steps=null", "val_every=1", "task.samples=6", "task.steps=2"),
)
FAMILIES = {
    "mlp": ("model=mlp", "data=synthetic_tabular", "data.rows=200", "model.dropout=0.2", "batch_size=32"),
    "lstm": ("model=lstm", "data=synthetic_seq", "data.rows=200", "model.dropout=0.2", "batch_size=32"),
    "cnn with batch norm": (
        *("model=cnn", "data=digits", "data.size=8", "model.norm=batch", "model.channels=[4,4,4]", "model.dropout=0.2"),
        *("model.adaptive_size=1", "model.hidden=[8]", "batch_size=256"),
    ),
    "unet": ("model=unet", "data=digit_canvas", "data.rows=60", "model.widths=[4,4]", "batch_size=8"),
    "images augmented and mixed": (
        *("model=resnet", "model.depth=[1]", "model.width_multiplier=0.1", "data=digits", "data.size=8"),
        *("augment=photos", "augment.mix=cutmix", "augment.erase=0.5", "channels_last=true", "batch_size=256"),
    ),
    "masks augmented and mixed": (
        *("model=unet", "data=digit_canvas", "data.rows=60", "model.widths=[4,4]", "batch_size=8"),
        *("augment=slides", "augment.mix=cutmix", "augment.window=16"),
    ),
    "conv_lstm": ("model=conv_lstm", "data=moving_blob", "data.rows=100", "model.channels=[4]", "batch_size=16"),
    "multimodal": ("model=multimodal", "data=mod3", "data.rows=100", "model.channels=[4]", "batch_size=16"),
    "gcn": ("model=gcn", "data=sbm"),
    "gat": ("model=gat", "data=sbm"),
    "forecaster": ("model=gru_forecaster", "data=sine_trend", "model.dropout=0.2", "batch_size=256"),
    "seq2seq with scheduled sampling": (
        *("model=seq2seq", "data=reverse", "data.rows=100", "data.length=4", "task.teacher_forcing=linear"),
        *("model.hidden_size=16", "model.dropout=0.2", "batch_size=16"),
    ),
    "transformer": ("model=transformer", "data=synthetic_seq", "data.rows=200", *BLOCKS, "batch_size=32"),
    "gpt over moving windows": (
        *("model=gpt", "data=text_file", f"data.path={TEXTS}/story.txt", "data.seq_len=16", *BLOCKS, "batch_size=32"),
    ),
    "texts of unequal length": (
        *("model=text_lstm", "data=text_folder", f"data.path={TEXTS}/kinds", "bucket=3", "batch_size=4"),
        *("model.hidden_size=8", "model.embed_size=8", "model.dropout=0.2"),
    ),
    "translation with scheduled sampling": (
        *(
            "model=transformer_seq2seq",
            "data=pairs",
            f"data.source={TEXTS}/source.txt",
            f"data.target={TEXTS}/target.txt",
        ),
        *("task.teacher_forcing=0.5", "bucket=3", "batch_size=4", *BLOCKS),
    ),
    "neural_ode": ("model=neural_ode", "data=damped_oscillator", "data.rows=200", "model.hidden=[8]", "batch_size=32"),
    "vae": ("model=vae", "data=linear_gaussian", "data.rows=500", "batch_size=64"),
    "graph_vae": ("model=graph_vae", "data=sbm_pairs", "data.nodes=200", "data.p_within=0.1", "batch_size=64"),
    "bipartite_gnn": ("model=bipartite_gnn", "data=clicks", "data.users=20", "data.items=15", "batch_size=32"),
    "conditional vae of binary images": (
        *("model=conv_vae", "data=digits", "data.size=8", "model.channels=[4]", "model.num_classes=10"),
        *("task.likelihood=bernoulli", "task.binarize=true", "task.samples=50", "batch_size=128"),
    ),
    "vq_vae": ("model=vq_vae", "data=clusters16", "data.rows=500", "batch_size=64", "val_every=1", "task.samples=50"),
    "real_nvp": (
        *("model=real_nvp", "data=swiss_roll", "data.rows=400", "model.blocks=2", "model.hidden=[16]"),
        *("task.samples=20", "batch_size=32", "max_steps=null"),
    ),
    "diffusion": ("model=diffusion", *DENOISER),
    "flow matching": ("model=diffusion", "task=flow_matching", *DENOISER),
    "diffusion of images": (
        *("model=diffusion_unet", "data=digits", "data.size=8", "model.widths=[4,4]", "model.num_classes=10"),
        *("max_steps=null", "val_every=1", "task.samples=6", "task.steps=2", "batch_size=256"),
    ),
    "dcgan with spectral norm": (
        *("model=dcgan", "data=digits", "data.size=8", "model.widths=[4,4]", "task.samples=20", "batch_size=256"),
        *("val_every=1",),
    ),
    "wgan_gp": ("model=wgan_gp", "data=ring", "data.rows=500", "batch_size=32", "val_every=1"),
}
FURTHER_FAMILIES = {
    "sampled neighbors": (
        *("model=sage", "data=edge_list", f"data.path={graph_tables()}", "data.target=label"),
        *("data.num_neighbors=[3,2]", "model.hidden=[8]", "model.dropout=0.2", "batch_size=16"),
    ),
    "batches of graphs": (
        *("model=graph_net", "data=tu", f"data.path={collection()}", "model.hidden=[8]", "model.head=[8]"),
        *("model.dropout=0.2", "batch_size=8"),
    ),
    "rgcn_distmult with random negatives": (
        *("model=rgcn_distmult", "data=triples", f"data.path={TRIPLES}", "batch_size=32"),
        *("model.embed_size=8", "model.bases=2", "task.candidates=8"),
    ),
    "distmult": ("model=distmult", "data=triples", f"data.path={TRIPLES}", "model.embed_size=8", "batch_size=64"),
    "matrix_factorization": (
        *("model=matrix_factorization", "data=clicks", "data.users=20", "data.items=15", "batch_size=32"),
    ),
    "graph_generator": (
        *("model=graph_generator", "data=sbm_pairs", "data.nodes=100", "data.p_within=0.1", "model.hidden=[8]"),
        *("batch_size=64",),
    ),
    "brain": (
        *("model=brain", "data=simulated_bold", "data.rows=30", "data.parcels=12", "data.members=4", "data.top_k=3"),
        *("model.hidden_size=8", "batch_size=8"),
    ),
    "windows of a series": (
        *("model=dlinear", "data=csv_series", f"data.path={hours()}", "data.time=time", "data.history=6"),
        *("data.horizon=3", "batch_size=16"),
    ),
    "images read again in each epoch": (
        *("model=cnn", "data=image_folder", f"data.path={pictures()}/kinds", "data.size=8", "data.cache_gb=0"),
        *("model.channels=[4,4,4]", "model.adaptive_size=1", "model.hidden=[8]", "batch_size=8"),
    ),
    "repeated images with masks": (
        *("model=unet", "data=image_masks", f"data.path={pictures()}/marked", "data.repeats=2", "augment=slides"),
        *("augment.window=8", "model.widths=[4,4]", "batch_size=8"),
    ),
    "cgan": ("model=cgan", "data=ring", "data.rows=60", "task.classifier=null", "task.samples=10", "batch_size=16"),
    "style_gan": (
        *("model=style_gan", "data=gratings", "data.rows=30", "data.size=8", "model.widths=[4,4]", "model.mapping=[8]"),
        *("model.latent=4", "model.critic_hidden=8", "task.samples=10", "task.classifier=null", "batch_size=9"),
    ),
}
"""Further runs, so that each task and kind of split has one; apart, because several tests train all ``FAMILIES``."""
