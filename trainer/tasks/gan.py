"""Adversarial learning: a generator against a critic."""

from __future__ import annotations

from collections.abc import Iterable
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
from trainer.utils.errors import ConfigError


class Adversarial(Generative):
    """Critic and generator minimise a game of ``gan.GAN_LOSSES``: ``bce``, logistic and non-saturating (Goodfellow et
    al. 2014); ``lsgan``, squares (Mao et al. 2017); ``hinge`` (Lim and Ye 2017; Miyato et al. 2018); or ``wgan``, ``E
    f(fake) - E f(real)`` (Arjovsky et al. 2017), whose critic is held by weights in [-clip, clip] or, as ``wgan_gp``,
    by a penalty on its gradient (Gulrajani et al. 2017). The others may be held by that penalty too, or by ``r1``. The
    generator takes every ``critic_steps``-th step of the critic. ``feature_matching`` adds to its loss the squared
    distance between the mean features of real and generated rows in the critic (Salimans et al. 2016). Generated rows
    are told the classes of the real ones they stand against.

    Raises ConfigError for options that do not go together.
    """

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
        self.gan_loss = game = gan.GAN_LOSSES[loss]
        self.critic_steps = critic_steps
        self.critic_lr = critic_lr
        self.gradient_penalty = game.penalty if gradient_penalty is None else gradient_penalty
        self.clip = game.clip if clip is None else clip
        self.r1 = r1
        self.feature_matching = feature_matching
        self.real_target = 1 - label_smoothing
        self._validate_options(loss, clip, label_smoothing)
        if self.clip is not None:
            gan.clip_weights(self.critic, self.clip)

    def _validate_options(self, loss: str, clip: float | None, label_smoothing: float) -> None:
        is_normed = any(parametrize.is_parametrized(part) for part in self.critic.modules())
        bounds = {
            "task.clip": self.clip is not None,
            "model.spectral_norm": self.clip is not None and is_normed,
            "task.gradient_penalty": self.gradient_penalty > 0,
            "task.r1": self.r1 > 0,
        }
        held = [key for key, is_set in bounds.items() if is_set]
        misfits = {
            f"task.clip: only wgan clips weights, and task.loss is {loss}; leave it null": (
                clip is not None and loss != "wgan"
            ),
            "task.gradient_penalty: 0 leaves the critic of wgan_gp without a bound; give more, or task.loss=wgan": (
                loss == "wgan_gp" and not self.gradient_penalty
            ),
            f"{' and '.join(held)}: each bounds the critic's slope by itself; keep one": len(held) > 1,
            f"task.label_smoothing: {loss} has no target to smooth; bce and lsgan have": (
                label_smoothing > 0 and not self.gan_loss.supports_smoothing
            ),
        }
        if problems := [problem for problem, is_so in misfits.items() if is_so]:
            raise ConfigError(*problems)

    @property
    def _adversarial_model(self) -> AdversarialModel:
        return cast(AdversarialModel, self.model)

    @property
    def critic(self) -> nn.Module:
        return self.model.get_submodule("critic")

    def param_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        return {name: self.model.get_submodule(name).parameters() for name in ("critic", "generator")}

    def learning_rates(self) -> dict[str, float]:
        return {} if self.critic_lr is None else {"critic": self.critic_lr}

    def active_groups(self, step: int) -> tuple[str, ...]:
        return ("critic",) if (step + 1) % self.critic_steps else ("critic", "generator")

    def count_active_steps(self, step: int) -> dict[str, int]:
        return {"critic": step, "generator": step // self.critic_steps}

    def loss(self, batch: Batch, player: str) -> Tensor:
        losses = {"critic": self.critic_loss, "generator": self.generator_loss}
        return losses[player](self.normalize(batch), self.get_labels(batch))

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        noise = torch.randn(count, self._adversarial_model.latent, device=self.progress.device)
        return self._adversarial_model.generate(noise, label).float()

    def critic_loss(self, real: Tensor, label: Tensor | None) -> Tensor:
        with torch.no_grad():
            fake = self.draw(len(real), label).reshape(real.shape)
        labels = None if label is None else label.repeat(2)
        on_real, on_fake = self.model(torch.cat((real, fake)), labels).float().chunk(2)
        loss = self.gan_loss.critic(on_real, on_fake, self.real_target)
        judge = partial(self.model, label=label)
        if self.gradient_penalty:
            loss = loss + self.gradient_penalty * gan.gradient_penalty(judge, real, fake)
        if self.r1:
            loss = loss + self.r1 * gan.r1_penalty(judge, real)
        return loss

    def generator_loss(self, real: Tensor, label: Tensor | None) -> Tensor:
        fake = self.draw(len(real), label).reshape(real.shape)
        loss = self.gan_loss.generator(self.model(fake, label).float())
        if self.feature_matching:
            loss = loss + self.feature_matching * self.feature_matching_loss(real, fake)
        return loss

    def feature_matching_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """``|E h(real) - E h(fake)|^2`` in the critic's last hidden layer h."""
        with torch.no_grad():
            wanted = self._adversarial_model.features(real).float().mean(0)
        return (self._adversarial_model.features(fake).float().mean(0) - wanted).square().sum()

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        return {"critic": self.model(self.normalize(batch), self.get_labels(batch)).float()}

    def score(self, batch: Batch) -> Score:
        return self.collect_real_rows(batch)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return self.compare_samples(totals)
