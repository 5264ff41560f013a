"""A few whole numbers for each row, rebuilt as well as they allow, and a prior over them to draw new rows from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import ClassVar, Unpack, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.artifacts import Artifact, LazyArtifact
from trainer.core.batch import Batch, Score
from trainer.core.types import NonNegativeFloat, Probability
from trainer.metrics.double_precision import to_double
from trainer.models.layers.generative.vector_quantizer import straight_through
from trainer.tasks.base.generative import Generative, GenerativeOptions
from trainer.tasks.base.model_protocols import CodebookModel
from trainer.tasks.evaluation.sample_metrics import load_rows, subsample_indices


class VectorQuantization(Generative):
    """van den Oord et al. 2017, eq. 3, as means: ``|x - decode(e)|^2 + commitment |z - sg(e)|^2`` with z encoded of x
    and e the nearest vectors of the codebook, which follows z by itself; the decoder's gradient passes straight on to
    z. For a first share ``warmup`` of the run the decoder reads z itself, while the codebook takes its place among
    them. The second player, a prior, learns the codes as they come. ``mse`` is of what the decoder makes of the codes,
    ``codebook_perplexity`` how many are in even use over a split, ``compute_bits_per_dim`` what one code costs by the
    prior.
    """

    shapes = "(B, ...) -> ()"

    monitor = "mse"
    required_model_methods: ClassVar[tuple[str, ...]] = ("encode", "quantize", "decode", "code_scores", "generate")

    def __init__(
        self,
        model: nn.Module,
        commitment: NonNegativeFloat = 0.25,
        warmup: Probability = 0.2,
        **options: Unpack[GenerativeOptions],
    ):
        super().__init__(model, **options)
        self.commitment = commitment
        self.warmup = warmup
        self.codes = int(self._codebook_model.codes)

    @property
    def _codebook_model(self) -> CodebookModel:
        return cast(CodebookModel, self.model)

    def param_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        prior = list(self.model.get_submodule("prior").parameters())
        known = {id(parameter) for parameter in prior}
        return {"autoencoder": [p for p in self.parameters() if id(p) not in known], "prior": prior}

    def active_groups(self, step: int) -> tuple[str, ...]:
        return ("autoencoder", "prior")

    def count_active_steps(self, step: int) -> dict[str, int]:
        return {"autoencoder": step, "prior": step}

    def loss(self, batch: Batch, player: str) -> Tensor:
        x = self.normalize(batch)
        if player == "prior":
            with torch.no_grad():
                codes = self._codebook_model.quantize(self._codebook_model.encode(x), follow=False)[1]
            return self.compute_code_nll(codes, self.get_labels(batch)).mean()
        z = self._codebook_model.encode(x).float()
        vectors = self._codebook_model.quantize(z)[0]
        is_warm = self.progress >= self.warmup
        decoded = self._codebook_model.decode(torch.where(is_warm, straight_through(z, vectors), z))
        return self.compute_errors(decoded, x).mean() + is_warm * self.commitment * F.mse_loss(z, vectors)

    def compute_errors(self, decoded: Tensor, x: Tensor) -> Tensor:
        """The mean squared error of each row, (B,)."""
        return (decoded.float().flatten(1) - x.flatten(1)).square().mean(1)

    def compute_code_nll(self, codes: Tensor, label: Tensor | None) -> Tensor:
        """The negative log-likelihood of each of codes (B, L) by the prior, (B, L)."""
        scores = self._codebook_model.code_scores(codes, label)
        return F.cross_entropy(scores.float().transpose(1, 2), codes, reduction="none")

    def evaluate_codes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The error of each row (B,), its codes and their negative log-likelihood, (B, L) both."""
        x = self.normalize(batch)
        vectors, codes = self._codebook_model.quantize(self._codebook_model.encode(x), follow=False)
        errors = self.compute_errors(self._codebook_model.decode(vectors), x)
        return errors, codes, self.compute_code_nll(codes, self.get_labels(batch))

    def score(self, batch: Batch) -> Score:
        errors, codes, nats = self.evaluate_codes(batch)
        return self.collect_real_rows(batch) | {
            "rows": torch.tensor(len(errors), device=errors.device),
            "error": to_double(errors).sum(),
            "nats": to_double(nats).sum(),
            "used": torch.bincount(codes.flatten(), minlength=self.codes),
        }

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        share = totals["used"].double() / totals["used"].sum()
        own = {
            "mse": float(totals["error"] / totals["rows"]),
            "codebook_perplexity": float(torch.special.entr(share).sum().exp()),
            "bits": float(totals["nats"] / totals["used"].sum()) / math.log(2),
        }
        return own | self.compare_samples(totals)

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Besides, what one code for all rows would score, and a prior that takes all codes to be alike."""
        baseline, best = super().reference_scores()
        test = load_rows(
            self.sample_metrics.data.test, subsample_indices(len(self.sample_metrics.data.test), self.samples)
        )
        mean = self.sample_metrics.get_training_rows().to(self.progress.device).mean(0).view(1, *self.shape)
        x, guess = (self.normalize(batch.to(mean.device)) for batch in (test, Batch({"x": mean}, None, test.index[:1])))
        alone = {
            "mse": float(self.compute_errors(guess.expand_as(x), x).mean()),
            "codebook_perplexity": 1.0,
            "bits": math.log2(self.codes),
        }
        return alone | baseline, best

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        return self._codebook_model.generate(count, label)

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        errors, _, nats = self.evaluate_codes(batch)
        return {"reconstruction": errors, "code_log_likelihood": -nats.sum(1)}

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        yield LazyArtifact("reconstructions", lambda: self._plot_reconstructions(next(iter(batches))))

    @torch.no_grad()
    def _plot_reconstructions(self, batch: Batch) -> Artifact:
        rebuilt = self.denormalize(self.model(self.normalize(batch)))
        return next(self.render_preview("reconstructions", [("data", batch.inputs["x"]), ("rebuilt", rebuilt)]))
