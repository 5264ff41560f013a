"""Table with a rare class, as in screening: 2 % of the rows, six skewed features, a boundary that is not linear."""

from __future__ import annotations

from pathlib import Path

import numpy as np

SHARE = 0.02
NUM_FEATURES = 6
PARTS = (("train", 0.6), ("val", 0.2), ("test", 0.2))


def make_rare_class_table(path: Path, rows: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Write a table with the columns a to f, ``finding`` (no, yes) and ``part``; return features and classes by part.

    Findings are likely where two latent features have the same sign and a third one is far from its mean; logarithms of
    the columns are mixtures of the latent features.

    Args:
        path: File to write.
        rows: Number of rows.
        seed: Seed of the rows.
    """
    generator = np.random.default_rng(seed)
    latent = generator.normal(size=(rows, NUM_FEATURES))
    score = 1.2 * latent[:, 0] * latent[:, 1] + 0.8 * latent[:, 2] ** 2 + 2.2 * latent[:, 3] + 1.2 * latent[:, 4]
    score += generator.logistic(scale=0.5, size=rows)
    label = (score > np.quantile(score, 1 - SHARE)).astype(int)
    mixture = np.random.default_rng(0).normal(size=(NUM_FEATURES, NUM_FEATURES)) * 0.3 + np.eye(NUM_FEATURES)
    x = np.exp(0.5 * latent @ mixture).round(4)
    ends = (np.cumsum([share for _, share in PARTS]) * rows).round().astype(int)
    part = np.searchsorted(ends, np.arange(rows), side="right")
    names = [name for name, _ in PARTS]
    with path.open("w", encoding="utf-8") as file:
        file.write("a,b,c,d,e,f,finding,part\n")
        for values, y, p in zip(x, label, part, strict=True):
            file.write(f"{','.join(map(str, values))},{('no', 'yes')[y]},{names[p]}\n")
    return ({name: each[part == i] for i, name in enumerate(names)} for each in (x, label))  # type: ignore[return-value]


def score_logistic_regression(x: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the test scores of scikit-learn's logistic regression with balanced weights.

    ``f1`` is that of its own decision, ``f1_chosen`` that of the threshold with the best F1 score on validation rows.

    Args:
        x: Features (N, F) by part.
        y: Classes (N,) by part.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import average_precision_score, f1_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=1000))
    model.fit(x["train"], y["train"])
    probability = {name: model.predict_proba(rows)[:, 1] for name, rows in x.items()}
    candidates = np.unique(probability["val"])
    chosen = max(candidates, key=lambda bound: f1_score(y["val"], probability["val"] >= bound))
    return {
        "average_precision": float(average_precision_score(y["test"], probability["test"])),
        "f1": float(f1_score(y["test"], model.predict(x["test"]))),
        "f1_chosen": float(f1_score(y["test"], probability["test"] >= chosen)),
    }
