"""Saliency maps of image classifiers: SmoothGrad."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch

SMOOTHGRAD_SAMPLES, SMOOTHGRAD_NOISE = 16, 0.15
"""Number of noisy copies of SmoothGrad and their noise relative to the image range (Smilkov et al. 2017)."""


def smoothgrad(predict_logits: Callable[[Batch], Tensor], batch: Batch, input_name: str, classes: Tensor) -> Tensor:
    """Return the root mean square gradient of class logits over noisy copies of images, per pixel.

    Args:
        predict_logits: Function from a batch to logits ``(B, C)``.
        batch: The batch with the images.
        input_name: Name of the input with the images ``(B, channels, H, W)``.
        classes: Class of each row whose logit is differentiated, ``(B, 1)``.

    Returns:
        Maps ``(B, H, W)``, the largest gradient over the channels; the 99 % quantile of each map is 1.

    References:
        Simonyan et al., "Deep Inside Convolutional Networks", ICLR workshop 2014 (gradient of the class score).
        Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017.
    """
    x = batch.inputs[input_name]
    std = SMOOTHGRAD_NOISE * (x.amax((1, 2, 3), keepdim=True) - x.amin((1, 2, 3), keepdim=True))
    generator, heat = rng.make_generator(0), torch.zeros_like(x[:, 0])
    for _ in range(SMOOTHGRAD_SAMPLES):
        noisy = (x + std * torch.randn(x.shape, generator=generator).to(x.device)).requires_grad_()
        # cuDNN's recurrent layers have no backward pass in eval mode; torch's native ones do.
        with torch.backends.cudnn.flags(enabled=False):
            logits = predict_logits(replace(batch, inputs=batch.inputs | {input_name: noisy}))
            score = logits.gather(1, classes).sum()
            heat += torch.autograd.grad(score, noisy, materialize_grads=True)[0].square().amax(1)
    heat = heat.sqrt()
    return heat / heat.flatten(1).quantile(0.99, 1).clamp(min=1e-12)[:, None, None]
