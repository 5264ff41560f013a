"""Names of scores, which way is better, and the arithmetic that several tasks share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Direction = Literal["max", "min"]

HIGHER_IS_BETTER = frozenset(
    {
        *("accuracy", "f1", "auc", "r2", "mean_iou", "pixel_accuracy", "token_accuracy", "exact_match", "bleu"),
        *("beam_token_accuracy", "beam_exact_match", "beam_bleu"),
        *("average_precision", "elbo", "modes", "within", "label_accuracy", "hits", "mrr"),
        *("precision", "recall", "log_likelihood", "iw_bound", "codebook_perplexity"),
    }
)
LOWER_IS_BETTER = frozenset(
    {
        *("loss", "nll", "bits", "perplexity", "mse", "rmse", "mae", "gap", "energy_distance", "forcing_gap"),
        *("kl", "reconstruction", "frechet", "copies", "bits_per_dim"),
    }
)


def get_direction(name: str) -> Direction | None:
    """Whether more of a score is better; None for a name that is no score."""
    if name in HIGHER_IS_BETTER or name.startswith(("iou_", "f1_", "hits_")):
        return "max"
    return "min" if name in LOWER_IS_BETTER else None


def is_better(value: float, than: float | None, name: str) -> bool:
    """Whether a score improves on the best so far. NaN never does, and any number improves on none."""
    if not math.isfinite(value):
        return False
    if than is None:
        return True
    return value > than if get_direction(name) == "max" else value < than


def to_double(x: Tensor) -> Tensor:
    """In double precision, where the device has it: sums over a split lose nothing."""
    return x.float() if x.device.type == "mps" else x.double()


def confusion_matrix(predicted: Tensor, target: Tensor, classes: int) -> Tensor:
    """Counts (classes, classes), true class first, of flat predictions and targets in 0..classes-1."""
    return torch.bincount(target * classes + predicted, minlength=classes * classes).view(classes, classes)


def f1_macro(counts: Tensor) -> float:
    """The unweighted mean of each class's F1, over classes that occur or are predicted."""
    each = f1_per_class(counts)
    return float(each[~each.isnan()].mean())


def f1_per_class(counts: Tensor) -> Tensor:
    """F1 of each class (classes,), from ``confusion``; NaN for one that never occurs and is never predicted."""
    counts = counts.double()
    return 2 * counts.diag() / (counts.sum(1) + counts.sum(0))


def iou_per_class(counts: Tensor) -> Tensor:
    """Intersection over union of each class (classes,); NaN for one that never occurs and is never predicted."""
    counts = counts.double()
    hits = counts.diag()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def roc_auc(margin: Tensor, positive: Tensor) -> float:
    """Area under the ROC curve by ranks (Mann-Whitney), ties counted half; NaN with one class only.

    margin (N,) real, positive (N,) bool.
    """
    _, inverse, counts = torch.unique(margin.double(), return_inverse=True, return_counts=True)
    ends, counts = counts.cumsum(0).double(), counts.double()
    rank = (ends - (counts - 1) / 2)[inverse]
    yes = int(positive.sum())
    no = len(positive) - yes
    if not yes or not no:
        return math.nan
    return float((rank[positive].sum() - yes * (yes + 1) / 2) / (yes * no))


def average_precision(margin: Tensor, positive: Tensor) -> float:
    """The precision at each margin, averaged over the positives it finds; NaN without one. Arguments as of
    ``roc_auc``."""
    _, place = torch.unique(-margin.double(), return_inverse=True)  # the highest margin stands at place 0
    found, guessed = (torch.bincount(place, weights=weight) for weight in (positive.double(), None))
    precision = found.cumsum(0) / guessed.cumsum(0)
    return float((precision * found).sum() / found.sum())


def threshold_curves(margin: Tensor, positive: Tensor, most: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    """False positive rate, true positive rate (which is the recall) and precision at falling thresholds.

    (K,) each, K at most about ``most``, from the threshold that nothing passes, whose precision is set to 1. Arguments
    as of ``roc_auc``.
    """
    _, place = torch.unique(-margin.double(), return_inverse=True)
    hits, alarms = (torch.bincount(place, weights=part.double()).cumsum(0) for part in (positive, ~positive))
    hits, alarms = (torch.cat((part.new_zeros(1), part)) for part in (hits, alarms))
    kept = torch.linspace(0, len(hits) - 1, min(len(hits), most)).round().long()
    hits, alarms = hits[kept], alarms[kept]
    precision = torch.where(hits + alarms > 0, hits / (hits + alarms), 1.0)
    return alarms / alarms[-1], hits / hits[-1], precision


def roc_auc_macro(logits: Tensor, target: Tensor) -> float:
    """The mean over classes of ``roc_auc`` of one class against all others, by its probability; NaN with one class
    only.

    logits (N, C), target (N,). A class without a row, or with all of them, is left out.
    """
    odds = logits.double().softmax(1)
    each = [roc_auc(odds[:, label], target == label) for label in range(odds.shape[1])]
    known = [area for area in each if not math.isnan(area)]
    return sum(known) / len(known) if known else math.nan


def energy_distance(x: Tensor, y: Tensor) -> float:
    """How far apart two sets of points are: ``2 E|X-Y| - E|X-X'| - E|Y-Y'|`` (Szekely and Rizzo 2013).

    x (N, F), y (M, F), N and M at least 2. Pairs of a point with itself do not count, so the estimate is unbiased: 0
    on average for two draws from one distribution, whatever their sizes, and by chance a little below it.
    """
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    within = _sum_distances(x, x) / (n * (n - 1)) + _sum_distances(y, y) / (m * (m - 1))
    return float(2 * _sum_distances(x, y) / (n * m) - within)


def _sum_distances(x: Tensor, y: Tensor) -> Tensor:
    """The sum over all pairs, a block at a time so that memory stays small."""
    return torch.stack([torch.cdist(block, y).sum() for block in x.split(1024)]).sum()


MAX_NGRAM_ORDER = 4
"""The longest runs of words that BLEU compares."""


def count_bleu_ngrams(written: Sequence[str], reference: Sequence[str], unknown: str = "") -> list[int]:
    """What one sentence adds to ``corpus_bleu``: matching runs of 1 to 4 words, runs written, words written and
    expected.

    ``unknown`` stands for a word outside a vocabulary: it matches nothing, itself included.
    """
    matches, runs = [], []
    for order in range(1, MAX_NGRAM_ORDER + 1):
        ours, theirs = (
            Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))
            for words in (written, reference)
        )
        matches.append(sum(count for run, count in (ours & theirs).items() if unknown not in run))
        runs.append(max(0, len(written) - order + 1))
    return [*matches, *runs, len(written), len(reference)]


def corpus_bleu(counts: Sequence[float]) -> float:
    """Corpus BLEU, 0 to 100, from summed ``count_bleu_ngrams`` (Papineni et al. 2002).

    ``100 min(1, e^(1 - r/c)) (prod p_n)^(1/4)``; the k-th p_n without a match counts 1 / 2^k matches, as is usual.
    """
    matches, runs, (length, expected) = counts[:MAX_NGRAM_ORDER], counts[MAX_NGRAM_ORDER:-2], counts[-2:]
    if not all(runs) or not matches[0]:
        return 0.0
    logs, misses = 0.0, 0
    for hits, tries in zip(matches, runs, strict=True):
        misses += not hits
        logs += math.log((hits or 0.5**misses) / tries)
    return 100 * min(1.0, math.exp(1 - expected / length)) * math.exp(logs / MAX_NGRAM_ORDER)


MODE_HIT_SHARE = 0.2
"""A mode is hit by a fifth of the points it should get; one broad Gaussian gives a mode of a ring a fifteenth."""


def mode_coverage(points: Tensor, centres: Tensor, sigma: float) -> dict[str, float]:
    """How many modes points (N, F) hit, and the share of them that lies within 3 sigma of a centre (K, F).

    The modes are taken to be equally likely.
    """
    distance, nearest = torch.cdist(points.double(), centres.double()).min(1)
    close = distance <= 3 * sigma
    hits = torch.bincount(nearest[close], minlength=len(centres))
    enough = hits >= MODE_HIT_SHARE * len(points) / len(centres)
    return {"modes": float(enough.sum()), "within": float(close.double().mean())}


HITS_AT_K = (1, 3, 10)
MAX_SCORES_PER_CHUNK = 1 << 19
"""How many are compared at a time: they stay in the cache, which is eight times faster than all of a large batch."""


def filtered_ranks_and_nll(scores: Tensor, target: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """The ``ranks`` of the rows' targets and their negative log-likelihood, (B,) each."""
    rows = max(1, MAX_SCORES_PER_CHUNK // scores.shape[1])
    found = []
    for part, right, others in zip(*(value.split(rows) for value in (scores, target, known)), strict=True):
        nll = F.cross_entropy(part.float(), right, reduction="none")
        found.append((filtered_ranks(part, right, others), to_double(nll)))
    rank, nll = (torch.cat(parts) for parts in zip(*found, strict=True))
    return rank, nll


def filtered_ranks(scores: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """The filtered rank of each row's target among all candidates (Bordes et al. 2013), 1 for the best: (B,) double.

    scores (B, C); target (B,); known (B, K): other right answers, which are left out, each at most once in a row, the
    target among them or not, filled up with numbers below 0. Candidates that tie share the mean of their ranks, so
    that scores that are all alike rank as chance does; NaN is no better than last.
    """
    own = scores.gather(1, target[:, None])
    # What is left out is counted apart, which spares a copy of all scores.
    others = (known >= 0) & (known != target[:, None])
    left_out = scores.gather(1, known.clamp(min=0)).where(others, torch.nan)
    behind = _count_below(scores, own) - _count_below(left_out, own)
    return scores.shape[1] - others.sum(1) - behind + 0.5


def _count_below(scores: Tensor, own: Tensor) -> Tensor:
    """How many scores (B, C) of each row are below its own (B, 1), those that tie counted half and NaN not at all."""
    return to_double((scores < own).sum(1)) + to_double((scores == own).sum(1)) / 2


def ranking_metrics(ranks: Tensor) -> dict[str, float]:
    """The mean reciprocal rank, and the shares of rows (B,) that rank at least so high."""
    hits = {f"hits_at_{k}": float((ranks <= k).double().mean()) for k in HITS_AT_K}
    return {"mrr": float(ranks.double().reciprocal().mean())} | hits
