"""Time of an epoch of GAN training, by the trainer and by a plain loop over the same layers.

Both are interleaved in one run on one thread, and CPU time is counted, so that other load affects both alike. An epoch
has every step of the critic, and of the generator when it is active.
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
WGAN_GP = (*COMMON, "model=wgan_gp", "data=ring", "data.rows=8000", "batch_size=256")
DCGAN = (*COMMON, "model=dcgan", "model.widths=[32,64]", "data=digits", "task.r1=0", "batch_size=64")
Epoch = Callable[[], None]


def make_trainer_epoch(*overrides: str) -> tuple[Epoch, Tensor]:
    """Return an epoch of the trainer, and its normalized training rows."""
    run = lab(*overrides)
    split = run.data.train
    rows = run.task.normalize(split.to_model_inputs(split.batch(torch.arange(len(split)), 0)))  # type: ignore[operator]

    def epoch() -> None:
        run.trainer.train_epoch()
        run.trainer.epoch, run.trainer.batch = run.trainer.epoch + 1, 0

    return epoch, rows


def adam(net: nn.Module, lr: float, betas: tuple[float, float]) -> torch.optim.Optimizer:
    return torch.optim.Adam(net.parameters(), lr=lr, betas=betas, fused=True)


def make_wgan_gp_epoch(x: Tensor) -> Epoch:
    """Return an epoch of a hand-written WGAN-GP that scores real and generated points in one call."""
    widths = (64, 64, 64, 64)
    layers: list[nn.Module] = []
    for in_width, out_width in zip((2, *widths), widths, strict=False):
        layers += [nn.Linear(in_width, out_width), nn.LeakyReLU(0.2)]
    critic = nn.Sequential(*layers, nn.Linear(64, 1))
    generator = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    critic_adam, generator_adam = (adam(net, 1e-3, (0.0, 0.9)) for net in (critic, generator))

    def epoch() -> None:
        for step, real in enumerate(x[torch.randperm(len(x))].split(256)):
            with torch.no_grad():
                fake = generator(torch.randn(len(real), 4))
            real_scores, fake_scores = critic(torch.cat((real, fake))).chunk(2)
            interpolates = torch.lerp(fake, real, torch.rand(len(real), 1)).requires_grad_()
            (grad,) = torch.autograd.grad(critic(interpolates).sum(), interpolates, create_graph=True)
            loss = fake_scores.mean() - real_scores.mean() + 10 * (grad.norm(dim=1) - 1).square().mean()
            critic_adam.zero_grad()
            loss.backward()
            critic_adam.step()
            if (step + 1) % 5 == 0:
                generator_adam.zero_grad()
                (-critic(generator(torch.randn(len(real), 4))).mean()).backward()
                generator_adam.step()

    return epoch


def make_dcgan_epoch(x: Tensor) -> Epoch:
    """Return an epoch of a hand-written DCGAN with logistic losses."""
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
            real_scores, fake_scores = critic(torch.cat((real, fake))).chunk(2)
            critic_adam.zero_grad()
            (F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()).backward()
            critic_adam.step()
            generator_adam.zero_grad()
            F.softplus(-critic(generator(torch.randn(len(real), 32)))).mean().backward()
            generator_adam.step()

    return epoch


def measure_milliseconds(epoch: Epoch) -> float:
    """Return the CPU time of an epoch."""
    start = time.process_time()
    epoch()
    return 1e3 * (time.process_time() - start)


def main() -> None:
    torch.set_num_threads(1)
    print(f"ms of CPU time an epoch, median of {ROUNDS} interleaved rounds, one thread")
    for name, overrides, make_plain_epoch in (
        ("WGAN-GP", WGAN_GP, make_wgan_gp_epoch),
        ("DCGAN", DCGAN, make_dcgan_epoch),
    ):
        trainer_epoch, rows = make_trainer_epoch(*overrides)
        plain_epoch = make_plain_epoch(rows)
        pairs = [(measure_milliseconds(trainer_epoch), measure_milliseconds(plain_epoch)) for _ in range(ROUNDS + 1)][
            1:
        ]
        trainer_ms, plain_ms = (median(times) for times in zip(*pairs, strict=True))
        print(
            f"{name:8s} trainer {trainer_ms:7.1f}   plain loop {plain_ms:7.1f}   {median(a / b for a, b in pairs):.2f}x"
        )


if __name__ == "__main__":
    main()
