"""Vector-quantized autoencoders with a learned prior."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Unpack, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.artifacts import Artifact, LazyArtifact
from trainer.core.batch import Batch, Score
from trainer.core.token_selection import select_by_noise
from trainer.core.types import NonNegativeFloat, Probability
from trainer.metrics.double_precision import to_double
from trainer.models.layers.generative.vector_quantizer import straight_through
from trainer.models.layers.sequence.step_scan import State, scan_steps
from trainer.tasks.base.generative import Generative, GenerativeOptions
from trainer.tasks.base.model_protocols import CodebookModel
from trainer.tasks.evaluation.sample_metrics import load_subsample


class VectorQuantization(Generative):
    """VQ-VAE training with the loss ``mean (x - D(e))^2 + commitment mean (z - sg(e))^2``, sg being the stop-gradient.

    z is the encoder output, e the nearest codebook vectors and D the decoder; the gradient of e is passed to z
    unchanged (straight-through estimator). The codebook follows z by exponential moving averages instead of a loss. A
    second parameter group, the prior, minimizes the negative log-likelihood of the codes.

    ``mse`` is the reconstruction error in the range of the model, ``codebook_perplexity`` exp(entropy) of the code
    usage over a split, and ``bits`` the negative log-likelihood of a code under the prior, in bits.

    Args:
        model: Model with encoder, codebook, decoder and prior, see ``CodebookModel``.
        commitment: Weight of the commitment loss.
        warmup: Initial fraction of training in which the decoder reads z instead of e, while the codebook adapts, and
            the commitment loss is off.
        options: Options of all generative tasks, see ``GenerativeOptions``.

    References:
        van den Oord et al., Neural Discrete Representation Learning, NeurIPS 2017, eq. 3 and appendix A.1.
    """

    loss_floor = None
    shapes = "(B, ...) -> ()"

    monitor = "mse"
    required_model_methods: ClassVar[tuple[str, ...]] = ("encode", "quantize", "decode", "code_scores", "generate")
    progress_options = ("warmup",)

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
        prior_ids = {id(parameter) for parameter in prior}
        return {"autoencoder": [p for p in self.parameters() if id(p) not in prior_ids], "prior": prior}

    def active_groups(self, step: int) -> tuple[str, ...]:
        return ("autoencoder", "prior")

    def count_active_steps(self, step: int) -> dict[str, int]:
        return {"autoencoder": step, "prior": step}

    def loss(self, batch: Batch, group: str) -> Tensor:
        x = self.normalize(batch)
        if group == "prior":
            with torch.no_grad():
                _, codes = self._codebook_model.quantize(self._codebook_model.encode(x), update_codebook=False)
            return self.compute_code_nll(codes, self.get_labels(batch)).mean()
        z = self._codebook_model.encode(x).float()
        vectors, _ = self._codebook_model.quantize(z)
        is_warm = self.progress >= self.warmup
        reconstruction = self._codebook_model.decode(torch.where(is_warm, straight_through(z, vectors), z))
        return self.compute_errors(reconstruction, x).mean() + is_warm * self.commitment * F.mse_loss(z, vectors)

    def compute_errors(self, reconstruction: Tensor, x: Tensor) -> Tensor:
        """Return the mean squared error of each row, (B,).

        Args:
            reconstruction: Decoder outputs (B, ...).
            x: Rows (B, ...) in the range of the model.
        """
        return (reconstruction.float().flatten(1) - x.flatten(1)).square().mean(1)

    def compute_code_nll(self, codes: Tensor, label: Tensor | None) -> Tensor:
        """Return the negative log-likelihood of each code under the prior, (B, L) in nats.

        Args:
            codes: Code indices (B, L), int64.
            label: Labels (B,); None for an unconditional model.
        """
        scores = self._codebook_model.code_scores(codes, label)
        return F.cross_entropy(scores.float().transpose(1, 2), codes, reduction="none")

    def evaluate_codes(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return the reconstruction errors (B,), the codes (B, L) and their negative log-likelihoods (B, L) in nats."""
        x = self.normalize(batch)
        vectors, codes = self._codebook_model.quantize(self._codebook_model.encode(x), update_codebook=False)
        errors = self.compute_errors(self._codebook_model.decode(vectors), x)
        return errors, codes, self.compute_code_nll(codes, self.get_labels(batch))

    def score(self, batch: Batch) -> Score:
        errors, codes, neg_log_prob = self.evaluate_codes(batch)
        return self.collect_real_rows(batch) | {
            "rows": torch.tensor(len(errors), device=errors.device),
            "error": to_double(errors).sum(),
            "neg_log_prob": to_double(neg_log_prob).sum(),
            "used": torch.bincount(codes.flatten(), minlength=self.codes),
        }

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        usage = totals["used"].double() / totals["used"].sum()
        scores = {
            "mse": float(totals["error"] / totals["rows"]),
            "codebook_perplexity": float(torch.special.entr(usage).sum().exp()),
            "bits": float(totals["neg_log_prob"] / totals["used"].sum()) / math.log(2),
        }
        return scores | self.compare_samples(totals)

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Add the scores of a codebook with a single code, the mean row, and of a uniform prior."""
        baseline, best = super().reference_scores()
        device = self.progress.device
        test = load_subsample(self.sample_metrics.data.test, self.samples).to(device)
        mean_row = self.sample_metrics.get_training_rows().to(device).mean(0).view(1, *self.shape)
        x, mean = self.normalize(test), self.normalize(Batch({"x": mean_row}, None, test.index[:1]))
        single_code = {
            "mse": float(self.compute_errors(mean.expand_as(x), x).mean()),
            "codebook_perplexity": 1.0,
            "bits": math.log2(self.codes),
        }
        return single_code | baseline, best

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        return self._codebook_model.generate(count, label)

    def draw_noise(self, count: int) -> dict[str, Tensor]:
        x = torch.zeros(1, *self.shape, device=self.progress.device)
        _, codes = self._codebook_model.quantize(self._codebook_model.encode(x), update_codebook=False)
        return {"noise": torch.rand(count, codes.shape[1], device=self.progress.device)}

    def transform_noise(self, noise: Mapping[str, Tensor], label: Tensor | None) -> Tensor:
        """Return the rows decoded from codes that uniform noise selects one after another.

        Args:
            noise: Uniform noise (B, L).
            label: Labels (B,); None for an unconditional model.
        """
        uniform = noise["noise"]
        positions = torch.arange(uniform.shape[1], device=uniform.device)

        def select_code(state: State, position: Tensor, uniform: Tensor) -> tuple[State, State]:
            (codes,) = state  # those from ``position`` on have no effect: the prior is causal
            scores = self._codebook_model.code_scores(codes, label).index_select(1, position[None]).squeeze(1)
            code = select_by_noise(scores.float().softmax(-1), uniform)
            return (torch.where(positions == position, code[:, None], codes),), ()

        start = (torch.zeros_like(uniform, dtype=torch.long),)
        (codes,), _ = scan_steps(select_code, start, positions, uniform.t())
        return self._codebook_model.decode_codes(codes)

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        errors, _, neg_log_prob = self.evaluate_codes(batch)
        return {"reconstruction": errors, "code_log_likelihood": -neg_log_prob.sum(1)}

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        yield LazyArtifact("reconstructions", lambda: self._plot_reconstructions(next(iter(batches))))

    @torch.no_grad()
    def _plot_reconstructions(self, batch: Batch) -> Artifact:
        reconstructions = self.denormalize(self.model(self.normalize(batch))).cpu()
        rows = [("data", batch.inputs["x"].cpu()), ("reconstructed", reconstructions)]
        return next(self.render_preview("reconstructions", rows))
