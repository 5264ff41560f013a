"""Adversarial training of a generator and a critic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import ClassVar, Literal, Unpack, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from trainer.core.batch import Batch, Score
from trainer.core.types import NonNegativeFloat, PositiveFloat, PositiveInt, Probability
from trainer.tasks.base.generative import Generative, GenerativeOptions
from trainer.tasks.base.model_protocols import AdversarialModel
from trainer.tasks.losses import gan
from trainer.utils.choices import get_choice
from trainer.utils.errors import ConfigError


class Adversarial(Generative):
    """Generative adversarial training of a generator G and a critic f with logits f(x).

    Losses of the critic and of the generator, with real rows x and generated rows g = G(z):

    - ``bce``: ``E softplus(-f(x)) + E softplus(f(g))`` and ``E softplus(-f(g))`` (non-saturating)
    - ``lsgan``: ``E (f(x) - 1)^2 / 2 + E f(g)^2 / 2`` and ``E (f(g) - 1)^2 / 2``
    - ``hinge``: ``E max(0, 1 - f(x)) + E max(0, 1 + f(g))`` and ``-E f(g)``
    - ``wgan``: ``E f(g) - E f(x)`` with the weights of f in [-clip, clip], and ``-E f(g)``
    - ``wgan_gp``: ``E f(g) - E f(x)`` plus the gradient penalty, and ``-E f(g)``

    The gradient penalty and ``r1`` can be added to the other losses too. Generated rows have the labels of the real
    rows of the batch.

    Args:
        model: Model with submodules ``critic`` and ``generator``, see ``AdversarialModel``.
        loss: ``bce``, ``lsgan``, ``hinge``, ``wgan`` or ``wgan_gp``.
        critic_steps: Critic updates per generator update.
        critic_lr: Learning rate of the critic; None uses that of the optimizer.
        gradient_penalty: Weight of the gradient penalty; None uses the default of the loss, 10 for ``wgan_gp``.
        clip: Bound of the critic's weights; None uses the default of the loss, 0.01 for ``wgan``.
        r1: Weight of the R1 penalty.
        feature_matching: Weight of the feature matching loss of the generator.
        label_smoothing: One-sided label smoothing: the target of real rows is 1 - ``label_smoothing``.
        options: Options of all generative tasks, see ``GenerativeOptions``.

    Raises:
        ConfigError: Options exclude each other.

    References:
        Goodfellow et al., Generative Adversarial Nets, NeurIPS 2014 (bce).
        Mao et al., Least Squares Generative Adversarial Networks, ICCV 2017 (lsgan).
        Lim and Ye, Geometric GAN, 2017; Miyato et al., Spectral Normalization for GANs, ICLR 2018 (hinge).
        Arjovsky et al., Wasserstein GAN, ICML 2017 (wgan).
        Gulrajani et al., Improved Training of Wasserstein GANs, NeurIPS 2017 (wgan_gp).
        Salimans et al., Improved Techniques for Training GANs, NeurIPS 2016 (feature matching, label smoothing).
    """

    loss_floor = None
    shapes = "(B) -> ()"

    monitor = "energy_distance"
    required_model_methods: ClassVar[tuple[str, ...]] = ("forward", "generate", "features")
    extra_model_inputs: ClassVar[tuple[str, ...]] = ("label",)

    def __init__(
        self,
        model: nn.Module,
        loss: Literal["bce", "lsgan", "hinge", "wgan", "wgan_gp"] = "wgan_gp",
        critic_steps: PositiveInt = 5,
        critic_lr: PositiveFloat | None = None,
        gradient_penalty: NonNegativeFloat | None = None,
        clip: PositiveFloat | None = None,
        r1: NonNegativeFloat = 0.0,
        feature_matching: NonNegativeFloat = 0.0,
        label_smoothing: Probability = 0.0,
        **options: Unpack[GenerativeOptions],
    ):
        super().__init__(model, **options)
        self.gan_loss = gan_loss = get_choice("loss", loss, gan.GAN_LOSSES)
        self.critic_steps = critic_steps
        self.critic_lr = critic_lr
        self.gradient_penalty = gan_loss.penalty if gradient_penalty is None else gradient_penalty
        self.clip = gan_loss.clip if clip is None else clip
        self.r1 = r1
        self.feature_matching = feature_matching
        self.real_target = 1 - label_smoothing
        self._validate_options(loss, clip, label_smoothing)
        if self.clip is not None:
            gan.clip_weights(self.critic, self.clip)

    def _validate_options(self, loss: str, clip: float | None, label_smoothing: float) -> None:
        has_spectral_norm = any(parametrize.is_parametrized(module) for module in self.critic.modules())
        constraints = []
        if self.clip is not None:
            constraints.append("task.clip")
            if has_spectral_norm:
                constraints.append("model.spectral_norm")
        if self.gradient_penalty > 0:
            constraints.append("task.gradient_penalty")
        if self.r1 > 0:
            constraints.append("task.r1")
        problems = []
        if clip is not None and loss != "wgan":
            problems.append(f"task.clip: weight clipping applies to wgan only, and task.loss is {loss}; set it to null")
        if loss == "wgan_gp" and not self.gradient_penalty:
            problems.append(
                "task.gradient_penalty: 0 leaves the critic of wgan_gp unconstrained; set it above 0, or task.loss=wgan"
            )
        if len(constraints) > 1:
            problems.append(f"{' and '.join(constraints)}: each constrains the critic's gradient; keep only one")
        if label_smoothing > 0 and not self.gan_loss.supports_smoothing:
            problems.append(f"task.label_smoothing: {loss} has no targets to smooth; bce and lsgan have")
        if problems:
            raise ConfigError(*problems)

    @property
    def _adversarial_model(self) -> AdversarialModel:
        return cast(AdversarialModel, self.model)

    @property
    def critic(self) -> nn.Module:
        """Critic of the model."""
        return self.model.get_submodule("critic")

    def param_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        return {name: self.model.get_submodule(name).parameters() for name in ("critic", "generator")}

    def learning_rates(self) -> dict[str, float]:
        return {} if self.critic_lr is None else {"critic": self.critic_lr}

    def active_groups(self, step: int) -> tuple[str, ...]:
        return ("critic",) if (step + 1) % self.critic_steps else ("critic", "generator")

    def count_active_steps(self, step: int) -> dict[str, int]:
        return {"critic": step, "generator": step // self.critic_steps}

    def loss(self, batch: Batch, group: str) -> Tensor:
        x, label = self.normalize(batch), self.get_labels(batch)
        return self.critic_loss(x, label) if group == "critic" else self.generator_loss(x, label)

    def draw_noise(self, count: int) -> dict[str, Tensor]:
        return {"noise": torch.randn(count, self._adversarial_model.latent, device=self.progress.device)}

    def transform_noise(self, noise: Mapping[str, Tensor], label: Tensor | None) -> Tensor:
        return self._adversarial_model.generate(noise["noise"], label).float()

    def critic_loss(self, real: Tensor, label: Tensor | None) -> Tensor:
        """Return the loss of the critic with its penalties.

        Args:
            real: Rows (B, ...) in the range of the model.
            label: Labels (B,); None for an unconditional model.
        """
        with torch.no_grad():
            fake = self.draw(len(real), label).reshape(real.shape)
        labels = None if label is None else label.repeat(2)
        real_logits, fake_logits = self.model(torch.cat((real, fake)), labels).float().chunk(2)
        loss = self.gan_loss.critic(real_logits, fake_logits, self.real_target)
        critic = partial(self.model, label=label)
        if self.gradient_penalty:
            loss = loss + self.gradient_penalty * gan.gradient_penalty(critic, real, fake)
        if self.r1:
            loss = loss + self.r1 * gan.r1_penalty(critic, real)
        return loss

    def generator_loss(self, real: Tensor, label: Tensor | None) -> Tensor:
        """Return the loss of the generator.

        Args:
            real: Rows (B, ...) in the range of the model, for feature matching and the number of rows to generate.
            label: Labels (B,); None for an unconditional model.
        """
        fake = self.draw(len(real), label).reshape(real.shape)
        loss = self.gan_loss.generator(self.model(fake, label).float())
        if self.feature_matching:
            loss = loss + self.feature_matching * self.feature_matching_loss(real, fake)
        return loss

    def feature_matching_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """Return the feature matching loss ``|E h(real) - E h(fake)|^2``, h being the last hidden layer of the critic.

        Args:
            real: Real rows (B, ...).
            fake: Generated rows (B, ...).
        """
        with torch.no_grad():
            real_mean = self._adversarial_model.features(real).float().mean(0)
        return (self._adversarial_model.features(fake).float().mean(0) - real_mean).square().sum()

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        return {"critic": self.model(self.normalize(batch), self.get_labels(batch)).float()}

    def score(self, batch: Batch) -> Score:
        return self.collect_real_rows(batch)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return self.compare_samples(totals)
