"""What is done to training rows before a step, on the device; each change a function of (seed, epoch, index) alone."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.dataset import DatasetInfo
from trainer.core.types import Decay, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Probability
from trainer.data.augment import image_ops
from trainer.utils.errors import ConfigError

NUM_DRAWS = {
    **{"flip": 2, "angle": 1, "area": 1, "cut": 2, "shift": 2, "window": 2},
    **{"jitter": 3, "is_erased": 1, "erased_area": 1, "erased_at": 2},
}
"""What is drawn for each row, and how many numbers. A change that is off wastes its draws, and moves no other's."""
NUM_MIX_DRAWS = {"partner": 1, "share": 1, "at": 2}
NUM_BETA_QUANTILES = 1024
"""Values that stand for a distribution of shares."""


class Augment:
    """Leaves every row as it is."""

    def __init__(self, info: DatasetInfo):
        self.info = info

    def source_rows(self, index: Tensor, rows: int, epoch: int) -> Tensor:
        """The rows that a batch of the rows ``index`` (B,) is made of, among ``rows``."""
        return index

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        """The batch that a step sees, made of the rows fetched."""
        return batch


class ImageAugment(Augment):
    """Flips, turns, crops, shifts and windows are one resampling, bilinear; a target that is a map gets the same, by
    the nearest pixel. Then colour jitter, random erasing (Zhong et al. 2017) and, with another row of the split, which
    is changed by draws of its own, mixup (Zhang et al. 2018, ``s x_i + (1 - s) x_j``) or CutMix (Yun et al. 2019, a box
    of x_j in x_i), s from Beta(alpha, alpha): a class becomes shares of two.

    Raises ConfigError for a window that is larger than the pictures, and for mixup of maps.
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
        self.blank = torch.as_tensor(info.blank).float().view(-1, 1, 1) if fill == "blank" else None
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

    def _random_numbers(self, what: dict[str, int], index: Tensor, epoch: int, purpose: int) -> dict[str, Tensor]:
        drawn = rng.draw_uniform(index, sum(what.values()), rng.hash_seed(self.seed, purpose), epoch)
        return dict(zip(what, drawn.split(list(what.values()), 1), strict=True))

    def __call__(self, batch: Batch, epoch: int) -> Batch:
        x, target = batch.inputs["x"], batch.target
        index = batch.index.to(x.device)
        drawn = self._random_numbers(NUM_DRAWS, index, epoch, 0)
        if self.transform:
            x, target = self._apply_geometry(x, target, drawn)
        if self.jitter:
            x = image_ops.jitter_colors(x, drawn, self.jitter)
        if self.erase:
            x = image_ops.erase_boxes(x, drawn, self.erase)
        if self.mix != "none":
            return self._mix_halves(Batch({**batch.inputs, "x": x}, target, index), epoch)
        return Batch({**batch.inputs, "x": x}, target, batch.index)

    def _apply_geometry(
        self, x: Tensor, target: Tensor | None, drawn: dict[str, Tensor]
    ) -> tuple[Tensor, Tensor | None]:
        grid = self.transform.sampling_grid(drawn, *x.shape[-2:])
        blank = None if self.blank is None else self.blank.to(x.device)
        if target is not None and target.dim() == 3:
            outside = None if blank is None else float(self.info.blank_class)
            classes = image_ops.resample_images(target[:, None].to(x.dtype), grid, "nearest", outside)
            target = classes[:, 0].round().to(target.dtype)
        return image_ops.resample_images(x, grid, "bilinear", blank), target

    def _mix_halves(self, batch: Batch, epoch: int) -> Batch:
        """The first half of a batch with the second mixed in."""
        rows = len(batch) // 2
        drawn = self._random_numbers(NUM_MIX_DRAWS, batch.index[:rows], epoch, 1)
        share = self.beta_quantiles.to(batch.index.device)[(drawn["share"] * NUM_BETA_QUANTILES).long()]  # (B, 1)
        one, other = batch.inputs["x"].split(rows)
        if self.mix == "mixup":
            x = _blend(one, other, share)
            inside = None
        else:
            inside, area = image_ops.random_boxes(one, 1 - share, drawn["at"])
            x, share = torch.where(inside[:, None], other, one), 1 - area
        target = None if batch.target is None else self._mix_targets(batch.target, share, inside)
        inputs = {name: value[:rows] for name, value in batch.inputs.items()}
        return Batch(inputs | {"x": x}, target, batch.index[:rows])

    def _mix_targets(self, target: Tensor, share: Tensor, inside: Tensor | None) -> Tensor:
        one, other = target.chunk(2)
        if one.dim() == 3:
            if inside is None:
                raise ConfigError("augment.mix: mixup has no meaning for a map of classes; cutmix has")
            return torch.where(inside, other, one)
        if not one.is_floating_point():
            one, other = F.one_hot(target, self.info.sizes["num_classes"]).float().chunk(2)
        return _blend(one, other, share)


def _blend(one: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return torch.lerp(other, one, share.view(-1, *[1] * (one.dim() - 1)))


def _beta_quantiles(alpha: float) -> Tensor:
    """Equally likely values of Beta(alpha, alpha)."""
    from scipy.special import betaincinv  # which scikit-learn brings

    places = (torch.arange(NUM_BETA_QUANTILES, dtype=torch.float64) + 0.5) / NUM_BETA_QUANTILES
    return torch.from_numpy(betaincinv(alpha, alpha, places.numpy())).float()
