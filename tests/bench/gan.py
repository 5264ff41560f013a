"""Time of a step of an adversarial network, here and in a plain loop over the same layers.

Both take turns in one run on one thread, and CPU time is counted, so that what else the machine does weighs on both
alike. A round is an epoch of training: every step of the critic, and of the generator where it has its turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.lab import lab

ROUNDS = 15
COMMON = ("ema=null", "epochs=10000", "task.classifier=null")
POINTS = (*COMMON, "model=wgan_gp", "data=ring", "data.rows=8000", "batch_size=256")
PICTURES = (*COMMON, "model=dcgan", "model.widths=[32,64]", "data=digits", "task.r1=0", "batch_size=64")
Round = Callable[[], None]


def ours(*words: str) -> tuple[Round, Tensor]:
    """An epoch of training, and the rows it is of as the model sees them."""
    made = lab(*words)
    split = made.data.train
    rows = made.task.normalize(split.to_model_inputs(split.batch(torch.arange(len(split)), 0)))  # type: ignore[operator]

    def epoch() -> None:
        made.trainer.train_epoch()
        made.trainer.epoch, made.trainer.batch = made.trainer.epoch + 1, 0

    return epoch, rows


def adam(net: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=lr, betas=betas, fused=True)


def plain_points(x: Tensor) -> Round:
    """WGAN-GP as one writes it by hand, real and generated points judged in one call."""
    widths = (64, 64, 64, 64)
    layers: list[nn.Module] = []
    for before, after in zip((2, *widths), widths, strict=False):
        layers += [nn.Linear(before, after), nn.LeakyReLU(0.2)]
    critic = nn.Sequential(*layers, nn.Linear(64, 1))
    generator = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    critic_adam, generator_adam = (adam(net, 1e-3, (0.0, 0.9)) for net in (critic, generator))

    def epoch() -> None:
        for step, real in enumerate(x[torch.randperm(len(x))].split(256)):
            with torch.no_grad():
                fake = generator(torch.randn(len(real), 4))
            on_real, on_fake = critic(torch.cat((real, fake))).chunk(2)
            between = torch.lerp(fake, real, torch.rand(len(real), 1)).requires_grad_()
            (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            loss = on_fake.mean() - on_real.mean() + 10 * (slope.norm(dim=1) - 1).square().mean()
            critic_adam.zero_grad()
            loss.backward()
            critic_adam.step()
            if (step + 1) % 5 == 0:
                generator_adam.zero_grad()
                (-critic(generator(torch.randn(len(real), 4))).mean()).backward()
                generator_adam.step()

    return epoch


def plain_pictures(x: Tensor) -> Round:
    """A convolutional game with logistic losses, as one writes it by hand."""
    generator = nn.Sequential(
        *(nn.Linear(32, 64 * 7 * 7), nn.Unflatten(1, (64, 7, 7)), nn.GroupNorm(8, 64), nn.ReLU()),
        *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.GroupNorm(8, 32), nn.ReLU()),
        *(nn.ConvTranspose2d(32, 1, 4, 2, 1), nn.Tanh()),
    )
    critic = nn.Sequential(
        *(nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(32, 64, 4, 2, 1), nn.LeakyReLU(0.2)),
        *(nn.Flatten(), nn.Linear(64 * 7 * 7, 1)),
    )
    critic_adam, generator_adam = (adam(net, 1e-3, (0.5, 0.99)) for net in (critic, generator))

    def epoch() -> None:
        for real in x[torch.randperm(len(x))].split(64):
            with torch.no_grad():
                fake = generator(torch.randn(len(real), 32))
            on_real, on_fake = critic(torch.cat((real, fake))).chunk(2)
            critic_adam.zero_grad()
            (F.softplus(-on_real).mean() + F.softplus(on_fake).mean()).backward()
            critic_adam.step()
            generator_adam.zero_grad()
            F.softplus(-critic(generator(torch.randn(len(real), 32)))).mean().backward()
            generator_adam.step()

    return epoch


def milliseconds(epoch: Round) -> float:
    """Of CPU time."""
    start = time.process_time()
    epoch()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    torch.set_num_threads(1)
    print(f"ms of CPU time an epoch, median of {ROUNDS} interleaved rounds, one thread")
    for name, words, plain in (("WGAN-GP", POINTS, plain_points), ("DCGAN", PICTURES, plain_pictures)):
        here, rows = ours(*words)
        there = plain(rows)
        pairs = [(milliseconds(here), milliseconds(there)) for _ in range(ROUNDS + 1)][1:]
        mine, theirs = (median(times) for times in zip(*pairs, strict=True))
        print(f"{name:8s} ours {mine:7.1f}   by hand {theirs:7.1f}   {median(a / b for a, b in pairs):.2f}x")


if __name__ == "__main__":
    main()
