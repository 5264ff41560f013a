"""Image augmentation: effect on images and masks, and dependence on (seed, epoch, row) alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import configure, lab
from trainer.config import compose
from trainer.config.registry import list_options
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.dataset_info import DatasetInfo, ImageInfo
from trainer.core.split import TensorSplit
from trainer.data.augment.image_augment import ImageAugment, _beta_quantiles
from trainer.engine.dataloader import Loader
from trainer.utils.errors import ConfigError, DataError

SIDES = (7, 5)
SINGLE_OPTIONS: dict[str, dict[str, Any]] = {
    "flip": {"flip": "both"},
    "rotate": {"rotate": 30.0},
    "crop": {"crop": 0.5},
    "shift": {"shift": 2},
    "window": {"window": 3},
    "jitter": {"jitter": 0.3},
    "erase": {"erase": 1.0},
    "mixup": {"mix": "mixup"},
    "cutmix": {"mix": "cutmix"},
}
"""Each augmentation alone."""


def make_augment(blank: float = 0.0, blank_class: int = IGNORE_INDEX, **changes: Any) -> ImageAugment:
    """Return ``augment=pictures`` with changes."""
    options = configure("augment=pictures")["augment"] | changes
    del options["_target_"]
    image = ImageInfo(blank=blank, blank_class=blank_class)
    return ImageAugment(info=DatasetInfo(sizes={"num_classes": 4}, image=image), **options)


def make_loader(augment: ImageAugment, x: Tensor, target: Tensor | None, **options: Any) -> Loader:
    arguments = {"batch_size": len(x), "device": torch.device("cpu"), "train": True} | options
    return Loader(TensorSplit({"x": x}, target), "train", augment=augment, **arguments)


def numbered_images(rows: int, channels: int = 2) -> Tensor:
    """Return images (N, C, 7, 5) of which no two pixels are the same."""
    return torch.arange(rows * channels * 35, dtype=torch.float).view(rows, channels, *SIDES)


def augment_rows(augment: ImageAugment, rows: int = 200, target: str = "map", epoch: int = 0) -> Batch:
    x = numbered_images(rows)
    targets = {"map": x[:, 0].long(), "class": torch.arange(rows) % 4, "number": torch.arange(float(rows))}
    return make_loader(augment, x, targets[target]).load_augmented_rows(torch.arange(rows), epoch)


@pytest.mark.parametrize("name", SINGLE_OPTIONS)
def test_augmentation_depends_on_seed_epoch_and_row_only(name: str) -> None:
    images = []
    for seed, epoch, size in ((0, 3, 12), (0, 3, 5), (0, 4, 12), (1, 3, 12)):
        loader = make_loader(
            make_augment(**SINGLE_OPTIONS[name], seed=seed), torch.randn(12, 2, *SIDES), None, batch_size=size
        )
        loader.split.inputs["x"] = numbered_images(12)  # type: ignore[attr-defined]
        batches = list(loader.iter_epoch(epoch))
        order = torch.cat([batch.index for batch in batches])
        images.append(torch.cat([batch.inputs["x"] for batch in batches])[order.argsort()])
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[3])


def test_defaults_leave_images_unchanged_and_every_key_is_tested() -> None:
    batch = augment_rows(make_augment())
    assert torch.equal(batch.inputs["x"], numbered_images(200))
    assert {key for options in SINGLE_OPTIONS.values() for key in options} | {"fill", "mix_alpha", "seed"} == {
        *configure("augment=pictures")["augment"]
    } - {"_target_"}


def test_shift_moves_images_and_masks_alike() -> None:
    batch = augment_rows(make_augment(blank=-1.0, blank_class=-7, shift=2, fill="blank"))
    assert batch.target is not None
    # Each image is a crop of the original padded by two; each of the 25 offsets occurs.
    framed = torch.nn.functional.pad(numbered_images(200), (2, 2, 2, 2), value=-1.0)
    places = framed.unfold(2, 7, 1).unfold(3, 5, 1)  # (N, C, 5, 5, 7, 5)
    same = ((places - batch.inputs["x"][:, :, None, None]).abs() < 0.1).all(-1).all(-1).all(1)  # (N, 5, 5)
    assert (same.sum((1, 2)) == 1).all()
    assert same.any(0).all()
    x = batch.inputs["x"][:, 0].round()
    assert torch.equal(batch.target, torch.where(x == -1, -7, x).long())


def test_flips_mirror_the_image() -> None:
    flipped_images = augment_rows(make_augment(flip="both")).inputs["x"]
    candidates = torch.stack([numbered_images(200).flip(dims) for dims in ((), (2,), (3,), (2, 3))])
    same = ((candidates - flipped_images).abs() < 0.1).flatten(2).all(2)
    assert (same.sum(0) == 1).all()
    assert (same.sum(1) > 30).all()
    horizontal = augment_rows(make_augment(flip="horizontal")).inputs["x"]
    assert set((((candidates - horizontal).abs() < 0.1).flatten(2).all(2).nonzero()[:, 0]).tolist()) == {0, 2}


def test_rotation_angle_is_in_degrees() -> None:
    x = torch.arange(2 * 25, dtype=torch.float).view(2, 1, 5, 5)
    augment = make_augment(rotate=90.0)
    grid = augment.transform.sampling_grid(
        {name: torch.full((2, n), 0.0 if name == "angle" else 0.5) for name, n in (("angle", 1), ("area", 1))}
        | {name: torch.full((2, 2), 0.5) for name in ("flip", "cut", "shift", "window")},
        *x.shape[-2:],
    )
    rotated_images = torch.nn.functional.grid_sample(x, grid, "nearest", align_corners=False)
    assert torch.equal(rotated_images, x.rot90(-1, (2, 3)))


def test_rotated_mask_stays_aligned_with_image() -> None:
    """Rotate, crop and flip a disc and its mask: the image is bright inside the mask alone."""
    across, down = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="xy")
    disc = ((across - 22) ** 2 + (down - 9) ** 2 < 30).float().expand(64, 1, 32, 32)
    loader = make_loader(make_augment(rotate=180.0, crop=0.3, flip="both", shift=3), disc, disc[:, 0].long())
    batch = loader.load_augmented_rows(torch.arange(64), 0)
    assert batch.target is not None
    inside = batch.target == 1
    assert inside.float().mean(0).gt(0).sum() > 100, "the disc occurs at few positions"
    bright = batch.inputs["x"][:, 0]
    # The nearest of four pixels has at least a quarter of the weight.
    assert (bright[inside] > 0.24).all()
    assert (bright[~inside] < 0.76).all()
    assert ((bright > 0.5) == inside).float().mean() > 0.99


def test_window_is_an_unscaled_crop() -> None:
    x = augment_rows(make_augment(window=3)).inputs["x"]
    assert x.shape == (200, 2, 3, 3)
    places = numbered_images(200).unfold(2, 3, 1).unfold(3, 3, 1)  # (N, C, 5, 3, 3, 3)
    same = ((places - x[:, :, None, None]).abs() < 0.1).all(-1).all(-1).all(1)
    assert (same.sum((1, 2)) == 1).all()
    assert same.any(0).all()
    with pytest.raises(DataError, match=r"window: 6 pixels exceed images of 7 x 5"):
        augment_rows(make_augment(window=6))


def test_a_crop_covers_at_least_the_minimum_area() -> None:
    """Measure the side of the crop by the range that remains of a ramp from 0 to 1."""
    ramp = torch.linspace(0, 1, 64).expand(500, 1, 64, 64)
    x = make_loader(make_augment(crop=0.5), ramp, None).load_augmented_rows(torch.arange(500), 0).inputs["x"][:, 0, 0]
    side = x[:, -1] - x[:, 0]
    assert side.max() == pytest.approx(1, abs=0.02)
    assert side.min() == pytest.approx(0.5**0.5, abs=0.02)


def test_jitter_changes_brightness_contrast_and_color_within_limit() -> None:
    x = torch.randn(300, 3, 8, 8)
    images = make_loader(make_augment(jitter=0.2), x, None).load_augmented_rows(torch.arange(300), 0).inputs["x"]
    spread = (images.mean(1).std((1, 2)) / x.mean(1).std((1, 2))).sort().values
    assert 0.79 < spread[0] < 0.83
    assert 1.17 < spread[-1] < 1.21
    offset = (images.mean((1, 2, 3)) - x.mean((1, 2, 3))) / x.std((1, 2, 3))
    assert 0.17 < offset.max() < 0.21
    gray = x[:, :1].expand(-1, 3, -1, -1)
    images = make_loader(make_augment(jitter=0.2), gray, None).load_augmented_rows(torch.arange(300), 0).inputs["x"]
    torch.testing.assert_close(images[:, 0], images[:, 2], atol=1e-5, rtol=0)


def test_erase_probability_and_box_area() -> None:
    x = torch.randn(400, 1, 16, 16)
    is_erased = (
        make_loader(make_augment(erase=0.25), x, None).load_augmented_rows(torch.arange(400), 0).inputs["x"] != x
    )
    share = is_erased.float().mean((1, 2, 3))
    assert 0.17 < (share > 0).float().mean() < 0.33
    assert share.max() < 0.36
    assert share[share > 0].min() > 0.01


def test_mixup_weights_images_and_targets_alike() -> None:
    batch = augment_rows(make_augment(mix="mixup"), target="number")
    assert batch.target is not None
    first = numbered_images(200)[:, 0, 0, 0] / 70  # the row number
    # Images and targets are both linear in the row number, so both give the weight.
    torch.testing.assert_close(batch.inputs["x"][:, 0, 0, 0] / 70, batch.target, atol=1e-3, rtol=0)
    assert (batch.target - first).abs().mean() > 20
    soft = augment_rows(make_augment(mix="mixup"), target="class").target
    assert soft is not None
    assert soft.shape == (200, 4)
    torch.testing.assert_close(soft.sum(1), torch.ones(200))
    assert (soft.max(1).values < 0.9).float().mean() > 0.4
    with pytest.raises(DataError, match="mixup is undefined for class maps; use cutmix"):
        augment_rows(make_augment(mix="mixup"))


def test_cutmix_target_weight_is_box_area() -> None:
    batch = augment_rows(make_augment(mix="cutmix"), target="number")
    assert batch.target is not None
    is_unchanged = (batch.inputs["x"] - numbered_images(200)).abs().flatten(1) < 0.1
    share = is_unchanged.float().mean(1)
    other = (batch.inputs["x"].flatten(1).masked_fill(is_unchanged, 0).amax(1) / 70).floor()  # the row of the box
    is_mixed = share < 1
    mixture = share * torch.arange(200) + (1 - share) * other
    torch.testing.assert_close(batch.target[is_mixed], mixture[is_mixed], atol=1e-2, rtol=0)
    maps = augment_rows(make_augment(mix="cutmix"))
    assert torch.equal(maps.target, maps.inputs["x"][:, 0].round().long())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_beta_quantiles_have_moments_of_beta_distribution(alpha: float) -> None:
    values = _beta_quantiles(alpha)
    assert float(values.mean()) == pytest.approx(0.5, abs=1e-3)
    assert float(values.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.01)


def test_mixed_targets_use_soft_cross_entropy() -> None:
    run = lab("model=cnn", "data=digits", "data.size=8", "model.pools=[none]", "augment.mix=mixup", "max_steps=2")
    batch = run.loaders["train"].load_augmented_rows(torch.arange(8), 0)
    assert batch.target is not None
    run.task.eval()
    logits = run.task.forward_batch(batch).log_softmax(1)
    torch.testing.assert_close(run.task.loss(batch, "model"), -(logits * batch.target).sum(1).mean())
    assert run.test()["nll"] > 0


def test_only_training_rows_are_augmented() -> None:
    loaders = lab("model=cnn", "data=digits", "augment=slides", "max_steps=1").loaders
    assert [loaders[name].augment is None for name in ("train", "val", "test")] == [False, True, True]
    plain = loaders["train"].load_rows(torch.arange(4)).inputs["x"]
    assert torch.equal(plain, loaders["train"].split.batch(torch.arange(4), 0).inputs["x"])
    assert not torch.equal(plain, loaders["train"].load_augmented_rows(torch.arange(4), 0).inputs["x"])


@pytest.mark.parametrize("name", list_options("augment"))
@pytest.mark.slow
def test_every_augment_option_trains(name: str) -> None:
    run = lab("model=cnn", "data=gratings", "data.size=130", "data.rows=20", f"augment={name}", "max_steps=1")
    run.trainer.fit()
    assert run.trainer.step == 1


def test_augment_with_non_image_data_raises() -> None:
    with pytest.raises(ConfigError, match=r"augment: photos changes x \(B, C, H, W\); data moons gives x \(B, F\)"):
        compose.compose(["model=mlp", "data=moons", "augment=photos"])


def test_key_of_other_augment_option_raises_with_its_options() -> None:
    with pytest.raises(
        ConfigError, match=r"augment.rotate: unknown key; .*\(rotate is a key of nudge, photos, pictures\)"
    ):
        compose.compose(["model=cnn", "data=gratings", "augment.rotate=5"])
