"""Adversarial learning: a generator against a critic, scored by how far its points are from real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar, Literal, NamedTuple, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.batch import Batch, Score
from trainer.tasks.parts.generative import Generation, Generative
from trainer.types import NonNegativeFloat, PositiveInt


class Game(NamedTuple):
    """What each player minimises, given the critic's judgement of real and of generated points, (B,) each."""

    critic: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor], Tensor]


_GAMES = {
    "wasserstein": Game(lambda real, fake: fake.mean() - real.mean(), lambda fake: -fake.mean()),
    "bce": Game(
        lambda real, fake: F.softplus(-real).mean() + F.softplus(fake).mean(), lambda fake: F.softplus(-fake).mean()
    ),
}


def _slope(critic: nn.Module, x: Tensor) -> Tensor:
    """The gradient of the critic at each of x (B, D), itself differentiable in the critic's parameters."""
    if torch.compiler.is_compiling():
        # The compiler follows this form and not autograd.grad, which is quicker and does not import the compiler.
        return torch.func.grad(lambda points: critic(points).sum())(x)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=True)
    return slope


class Adversarial(Generative):
    """(B) -> ()

    ``wasserstein``: the critic minimises ``E f(fake) - E f(real)`` (Arjovsky et al. 2017) plus ``gradient_penalty``
    times ``E (|grad f| - 1)^2`` at points between real and generated ones, which keeps its slope near 1 (Gulrajani et
    al. 2017). ``bce``: logistic critic and non-saturating generator (Goodfellow et al. 2014). The generator takes
    every ``critic_steps``-th step of the critic.
    """

    monitor = "energy_distance"
    needs: ClassVar[tuple[str, ...]] = ("forward", "generate")

    def __init__(
        self,
        model: nn.Module,
        loss: Literal["wasserstein", "bce"],
        critic_steps: PositiveInt,
        gradient_penalty: NonNegativeFloat,
        **options: Unpack[Generation],
    ):
        super().__init__(model, **options)
        self.game = _GAMES[loss]
        self.critic_steps = critic_steps
        self.gradient_penalty = gradient_penalty

    def players(self) -> dict[str, Iterable[nn.Parameter]]:
        parts = {name: self.model.get_submodule(name) for name in ("critic", "generator")}
        return {name: part.parameters() for name, part in parts.items()}

    def turns(self, step: int) -> tuple[str, ...]:
        return ("critic",) if (step + 1) % self.critic_steps else ("critic", "generator")

    def loss(self, batch: Batch, player: str) -> Tensor:
        if player == "generator":
            return self.game.generator(self.model(self.generate(len(batch))).float())
        return self.critic_loss(self.rows(batch).flatten(1))

    def generate(self, count: int) -> Tensor:
        return self.model.generate(count).float()  # type: ignore[operator]

    def critic_loss(self, real: Tensor) -> Tensor:
        """The critic's loss on real points (B, D)."""
        with torch.no_grad():
            fake = self.generate(len(real))
        on_real, on_fake = self.model(torch.cat((real, fake))).float().chunk(2)
        loss = self.game.critic(on_real, on_fake)
        if self.gradient_penalty:
            loss = loss + self.gradient_penalty * self.steepness(real, fake)
        return loss

    def steepness(self, real: Tensor, fake: Tensor) -> Tensor:
        """``E (|grad f| - 1)^2`` at a random place between each real and generated point, (B, D) both."""
        place = torch.rand(len(real), 1, device=real.device)
        slope = _slope(self.model, torch.lerp(fake, real, place))
        return (torch.linalg.vector_norm(slope, dim=1) - 1).square().mean()

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        return self.generate(count)

    def rate(self, batch: Batch) -> dict[str, Tensor]:
        return {"critic": self.model(self.rows(batch)).float()}

    def score(self, batch: Batch) -> Score:
        return self.seen(batch)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return self.likeness(totals)
