"""Image augmentation of training batches on the device, as a function of (seed, epoch, index) only."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.dataset_info import DatasetInfo
from trainer.core.device_copy import copy_to_device
from trainer.core.types import Decay, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Probability
from trainer.data.augment import image_ops
from trainer.utils.errors import DataError

NUM_DRAWS = {
    **{"flip": 2, "angle": 1, "area": 1, "cut": 2, "shift": 2, "window": 2},
    **{"jitter": 3, "is_erased": 1, "erased_area": 1, "erased_at": 2},
}
"""Random numbers drawn per row. Disabled augmentations also draw theirs, so that the others do not change."""
NUM_MIX_DRAWS = {"partner": 1, "share": 1, "at": 2}
NUM_BETA_QUANTILES = 1024
"""Number of quantiles that approximate the Beta distribution of mixing weights."""


class Augment:
    """Identity augmentation and base class."""

    def __init__(self, info: DatasetInfo):
        self.info = info

    def source_rows(self, index: Tensor, rows: int, epoch: int) -> Tensor:
        """Return the rows, among ``rows``, needed to create the batch of the rows ``index`` (B,).

        Args:
            index: Rows of the batch, (B,).
            rows: Number of rows of the split.
            epoch: Epoch.
        """
        return index

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        """Create the augmented batch from the source rows."""
        return batch


class ImageAugment(Augment):
    """Geometric and color augmentation, random erasing, and mixup or CutMix.

    Flip, rotation, crop, shift and window are one bilinear resampling; target maps are resampled by nearest neighbor.
    Then follow color jitter, random erasing and, with another independently augmented row of the split, mixup
    (``s x_i + (1 - s) x_j``) or CutMix (a box of x_j in x_i) with s from Beta(alpha, alpha) and soft labels.

    Args:
        rotate: Maximum rotation in degrees.
        crop: Maximum fraction of the area that is cropped away.
        shift: Maximum shift in pixels.
        window: Side of a random window in pixels; None for the full image.
        fill: Padding beyond the border: reflection, or the value of an empty pixel.
        jitter: Strength of brightness, contrast and saturation jitter.
        erase: Probability of random erasing.
        mix_alpha: Parameter of the Beta distribution of mixing weights.

    Raises:
        DataError: The window is larger than the images, or mixup is used with target maps.

    References:
        Zhong et al. 2017, Random Erasing Data Augmentation.
        Zhang et al. 2018, mixup: Beyond Empirical Risk Minimization.
        Yun et al. 2019, CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features.
    """

    shapes = "x (B, C, H, W) -> x (B, C, H, W)"

    def __init__(
        self,
        info: DatasetInfo,
        flip: Literal["none", "horizontal", "vertical", "both"],
        rotate: NonNegativeFloat,
        crop: Decay,
        shift: NonNegativeInt,
        window: PositiveInt | None,
        fill: Literal["reflect", "blank"],
        jitter: Decay,
        erase: Probability = 0.0,
        mix: Literal["none", "mixup", "cutmix"] = "none",
        mix_alpha: PositiveFloat = 1.0,
        seed: NonNegativeInt = 0,
    ):
        super().__init__(info)
        flips = flip in ("horizontal", "both"), flip in ("vertical", "both")
        self.transform = image_ops.GeometricTransform(flips, rotate, crop, shift, window)
        self.blank = torch.as_tensor(info.image.blank).float().view(-1, 1, 1) if fill == "blank" else None
        self.jitter = jitter
        self.erase = erase
        self.mix = mix
        self.beta_quantiles = _beta_quantiles(mix_alpha) if mix != "none" else torch.empty(0)
        self.seed = seed

    def source_rows(self, index: Tensor, rows: int, epoch: int) -> Tensor:
        if self.mix == "none":
            return index
        partner = (self._random_numbers(NUM_MIX_DRAWS, index, epoch, 1)["partner"] * rows).long()
        return torch.cat((index, partner.squeeze(1)))

    def _random_numbers(self, num_draws: dict[str, int], index: Tensor, epoch: int, purpose: int) -> dict[str, Tensor]:
        numbers = rng.draw_uniform(index, sum(num_draws.values()), rng.hash_seed(self.seed, purpose), epoch)
        return dict(zip(num_draws, numbers.split(list(num_draws.values()), 1), strict=True))

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        x, target = batch.inputs["x"], batch.target
        index = copy_to_device(batch.index, x.device)
        draws = self._random_numbers(NUM_DRAWS, index, epoch, 0)
        if self.transform:
            x, target = self._apply_geometry(x, target, draws)
        if self.jitter:
            x = image_ops.jitter_colors(x, draws, self.jitter)
        if self.erase:
            x = image_ops.erase_boxes(x, draws, self.erase)
        if self.mix != "none":
            return self._mix_halves(Batch({**batch.inputs, "x": x}, target, index), epoch)
        return Batch({**batch.inputs, "x": x}, target, batch.index)

    def _apply_geometry(
        self, x: Tensor, target: Tensor | None, draws: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        grid = self.transform.sampling_grid(draws, *x.shape[-2:])
        blank = None if self.blank is None else copy_to_device(self.blank, x.device)
        if target is not None and target.dim() == 3:
            blank_class = None if blank is None else float(self.info.image.blank_class)
            classes = image_ops.resample_images(target[:, None].to(x.dtype), grid, "nearest", blank_class)
            target = classes[:, 0].round().to(target.dtype)
        return image_ops.resample_images(x, grid, "bilinear", blank), target

    def _mix_halves(self, batch: Batch, epoch: int) -> Batch:
        """Mix the second half of a batch into the first."""
        rows = len(batch) // 2
        draws = self._random_numbers(NUM_MIX_DRAWS, batch.index[:rows], epoch, 1)
        quantiles = copy_to_device(self.beta_quantiles, batch.index.device)
        weight = quantiles[(draws["share"] * NUM_BETA_QUANTILES).long()]  # (B, 1)
        first, second = batch.inputs["x"].split(rows)
        if self.mix == "mixup":
            x = _blend(first, second, weight)
            box = None
        else:
            box, area = image_ops.random_boxes(first, 1 - weight, draws["at"])
            x, weight = torch.where(box[:, None], second, first), 1 - area
        target = None if batch.target is None else self._mix_targets(batch.target, weight, box)
        inputs = {name: value[:rows] for name, value in batch.inputs.items()}
        return Batch(inputs | {"x": x}, target, batch.index[:rows])

    def _mix_targets(self, target: Tensor, weight: Tensor, box: Tensor | None) -> Tensor:
        first, second = target.chunk(2)
        if first.dim() == 3:
            if box is None:
                raise DataError("mix: mixup is undefined for class maps; use cutmix")
            return torch.where(box, second, first)
        if not first.is_floating_point():
            first, second = F.one_hot(target, self.info.sizes["num_classes"]).float().chunk(2)
        return _blend(first, second, weight)


def _blend(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    return torch.lerp(second, first, weight.view(-1, *[1] * (first.dim() - 1)))


def _beta_quantiles(alpha: float) -> Tensor:
    """Return equally likely quantiles of Beta(alpha, alpha)."""
    from scipy.special import betaincinv

    probabilities = (torch.arange(NUM_BETA_QUANTILES, dtype=torch.float64) + 0.5) / NUM_BETA_QUANTILES
    return torch.from_numpy(betaincinv(alpha, alpha, probabilities.numpy())).float()
