"""Changes of training pictures: what they do to picture and mask, and that they depend on nothing but their place."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import configure, lab
from trainer.config import compose
from trainer.config.registry import list_options
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.dataset import TensorSplit
from trainer.core.dataset_info import DatasetInfo, ImageInfo
from trainer.data.augment.image_augment import ImageAugment, _beta_quantiles
from trainer.engine.dataloader import Loader
from trainer.utils.errors import ConfigError, DataError

SIDES = (7, 5)
OWN: dict[str, dict[str, Any]] = {
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
"""Each change alone."""


def pictures(blank: float = 0.0, blank_class: int = IGNORE_INDEX, **changes: Any) -> ImageAugment:
    """``augment=pictures`` with changes."""
    given = configure("augment=pictures")["augment"] | changes
    del given["_target_"]
    image = ImageInfo(blank=blank, blank_class=blank_class)
    return ImageAugment(info=DatasetInfo(sizes={"num_classes": 4}, image=image), **given)


def loader(augment: ImageAugment, x: Tensor, target: Tensor | None, **how: Any) -> Loader:
    given = {"batch_size": len(x), "device": torch.device("cpu"), "train": True} | how
    return Loader(TensorSplit({"x": x}, target), "train", augment=augment, **given)


def numbered(rows: int, channels: int = 2) -> Tensor:
    """Pictures (N, C, 7, 5) of which no two pixels are the same."""
    return torch.arange(rows * channels * 35, dtype=torch.float).view(rows, channels, *SIDES)


def seen(augment: ImageAugment, rows: int = 200, target: str = "map", epoch: int = 0) -> Batch:
    x = numbered(rows)
    targets = {"map": x[:, 0].long(), "class": torch.arange(rows) % 4, "number": torch.arange(float(rows))}
    return loader(augment, x, targets[target]).load_augmented_rows(torch.arange(rows), epoch)


@pytest.mark.parametrize("change", OWN)
def test_a_row_looks_the_same_in_any_batch_and_another_in_any_other_epoch(change: str) -> None:
    looks = []
    for seed, epoch, size in ((0, 3, 12), (0, 3, 5), (0, 4, 12), (1, 3, 12)):
        made = loader(pictures(**OWN[change], seed=seed), torch.randn(12, 2, *SIDES), None, batch_size=size)
        made.split.inputs["x"] = numbered(12)  # type: ignore[attr-defined]
        batches = list(made.iter_epoch(epoch))
        order = torch.cat([batch.index for batch in batches])
        looks.append(torch.cat([batch.inputs["x"] for batch in batches])[order.argsort()])
    assert torch.equal(looks[0], looks[1])
    assert not torch.equal(looks[0], looks[2])
    assert not torch.equal(looks[0], looks[3])


def test_every_option_alone_changes_images_and_none_of_them_leaves_them() -> None:
    still = seen(pictures())
    assert torch.equal(still.inputs["x"], numbered(200))
    assert {key for how in OWN.values() for key in how} | {"fill", "mix_alpha", "seed"} == {
        *configure("augment=pictures")["augment"]
    } - {"_target_"}


def test_a_shift_moves_whole_images_and_their_masks_alike() -> None:
    batch = seen(pictures(blank=-1.0, blank_class=-7, shift=2, fill="blank"))
    assert batch.target is not None
    # Each picture is its original cut from a frame two wider; every one of the 25 places occurs.
    framed = torch.nn.functional.pad(numbered(200), (2, 2, 2, 2), value=-1.0)
    places = framed.unfold(2, 7, 1).unfold(3, 5, 1)  # (N, C, 5, 5, 7, 5)
    same = ((places - batch.inputs["x"][:, :, None, None]).abs() < 0.1).all(-1).all(-1).all(1)  # (N, 5, 5)
    assert (same.sum((1, 2)) == 1).all()
    assert same.any(0).all()
    x = batch.inputs["x"][:, 0].round()
    assert torch.equal(batch.target, torch.where(x == -1, -7, x).long())


def test_flips_mirror_the_image() -> None:
    both = seen(pictures(flip="both")).inputs["x"]
    ways = torch.stack([numbered(200).flip(dims) for dims in ((), (2,), (3,), (2, 3))])
    same = ((ways - both).abs() < 0.1).flatten(2).all(2)
    assert (same.sum(0) == 1).all()
    assert (same.sum(1) > 30).all()
    across = seen(pictures(flip="horizontal")).inputs["x"]
    assert set((((ways - across).abs() < 0.1).flatten(2).all(2).nonzero()[:, 0]).tolist()) == {0, 2}


def test_an_angle_is_in_degrees() -> None:
    x = torch.arange(2 * 25, dtype=torch.float).view(2, 1, 5, 5)
    augment = pictures(rotate=90.0)
    grid = augment.transform.sampling_grid(
        {name: torch.full((2, n), 0.0 if name == "angle" else 0.5) for name, n in (("angle", 1), ("area", 1))}
        | {name: torch.full((2, 2), 0.5) for name in ("flip", "cut", "shift", "window")},
        *x.shape[-2:],
    )
    turned = torch.nn.functional.grid_sample(x, grid, "nearest", align_corners=False)
    assert torch.equal(turned, x.rot90(-1, (2, 3)))


def test_a_turned_mask_stays_on_its_image() -> None:
    """A disc and its mask, turned, cropped and flipped: where the mask says disc the picture is bright."""
    across, down = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="xy")
    disc = ((across - 22) ** 2 + (down - 9) ** 2 < 30).float().expand(64, 1, 32, 32)
    made = loader(pictures(rotate=180.0, crop=0.3, flip="both", shift=3), disc, disc[:, 0].long())
    batch = made.load_augmented_rows(torch.arange(64), 0)
    assert batch.target is not None
    inside = batch.target == 1
    assert inside.float().mean(0).gt(0).sum() > 100, "the disc has been in few places"
    bright = batch.inputs["x"][:, 0]
    # The nearest of four pixels has at least a quarter of the weight.
    assert (bright[inside] > 0.24).all()
    assert (bright[~inside] < 0.76).all()
    assert ((bright > 0.5) == inside).float().mean() > 0.99


def test_a_window_is_a_part_of_the_image_as_it_is() -> None:
    x = seen(pictures(window=3)).inputs["x"]
    assert x.shape == (200, 2, 3, 3)
    places = numbered(200).unfold(2, 3, 1).unfold(3, 3, 1)  # (N, C, 5, 3, 3, 3)
    same = ((places - x[:, :, None, None]).abs() < 0.1).all(-1).all(-1).all(1)
    assert (same.sum((1, 2)) == 1).all()
    assert same.any(0).all()
    with pytest.raises(DataError, match=r"window: 6 pixels exceed images of 7 x 5"):
        seen(pictures(window=6))


def test_a_crop_covers_at_least_the_minimum_area() -> None:
    """A ramp from 0 to 1: what is left of it tells how much of the side was cut away."""
    ramp = torch.linspace(0, 1, 64).expand(500, 1, 64, 64)
    x = loader(pictures(crop=0.5), ramp, None).load_augmented_rows(torch.arange(500), 0).inputs["x"][:, 0, 0]
    left = x[:, -1] - x[:, 0]
    assert left.max() == pytest.approx(1, abs=0.02)
    assert left.min() == pytest.approx(0.5**0.5, abs=0.02)


def test_jitter_moves_brightness_contrast_and_color_within_its_share() -> None:
    x = torch.randn(300, 3, 8, 8)
    found = loader(pictures(jitter=0.2), x, None).load_augmented_rows(torch.arange(300), 0).inputs["x"]
    spread = (found.mean(1).std((1, 2)) / x.mean(1).std((1, 2))).sort().values
    assert 0.79 < spread[0] < 0.83
    assert 1.17 < spread[-1] < 1.21
    offset = (found.mean((1, 2, 3)) - x.mean((1, 2, 3))) / x.std((1, 2, 3))
    assert 0.17 < offset.max() < 0.21
    grey = x[:, :1].expand(-1, 3, -1, -1)
    found = loader(pictures(jitter=0.2), grey, None).load_augmented_rows(torch.arange(300), 0).inputs["x"]
    torch.testing.assert_close(found[:, 0], found[:, 2], atol=1e-5, rtol=0)


def test_erasing_blots_out_a_box_of_as_many_as_asked() -> None:
    x = torch.randn(400, 1, 16, 16)
    changed = loader(pictures(erase=0.25), x, None).load_augmented_rows(torch.arange(400), 0).inputs["x"] != x
    share = changed.float().mean((1, 2, 3))
    assert 0.17 < (share > 0).float().mean() < 0.33
    assert share.max() < 0.36
    assert share[share > 0].min() > 0.01


def test_mixup_weighs_images_and_classes_alike() -> None:
    batch = seen(pictures(mix="mixup"), target="number")
    assert batch.target is not None
    first = numbered(200)[:, 0, 0, 0] / 70  # the row's own number
    # Pictures and targets are both linear in the row's number, so they tell the same mixture.
    torch.testing.assert_close(batch.inputs["x"][:, 0, 0, 0] / 70, batch.target, atol=1e-3, rtol=0)
    assert (batch.target - first).abs().mean() > 20
    soft = seen(pictures(mix="mixup"), target="class").target
    assert soft is not None
    assert soft.shape == (200, 4)
    torch.testing.assert_close(soft.sum(1), torch.ones(200))
    assert (soft.max(1).values < 0.9).float().mean() > 0.4
    with pytest.raises(DataError, match="mixup is undefined for class maps; use cutmix"):
        seen(pictures(mix="mixup"))


def test_cutmix_pastes_a_box_and_counts_its_pixels() -> None:
    batch = seen(pictures(mix="cutmix"), target="number")
    assert batch.target is not None
    own = (batch.inputs["x"] - numbered(200)).abs().flatten(1) < 0.1
    share = own.float().mean(1)
    other = (batch.inputs["x"].flatten(1).masked_fill(own, 0).amax(1) / 70).floor()  # the row of the box
    some = share < 1
    mixture = share * torch.arange(200) + (1 - share) * other
    torch.testing.assert_close(batch.target[some], mixture[some], atol=1e-2, rtol=0)
    maps = seen(pictures(mix="cutmix"))
    assert torch.equal(maps.target, maps.inputs["x"][:, 0].round().long())


@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    values = _beta_quantiles(alpha)
    assert float(values.mean()) == pytest.approx(0.5, abs=1e-3)
    assert float(values.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.01)


def test_mixed_classes_have_the_loss_of_both() -> None:
    made = lab("model=cnn", "data=digits", "data.size=8", "model.pools=[none]", "augment.mix=mixup", "max_steps=2")
    batch = made.loaders["train"].load_augmented_rows(torch.arange(8), 0)
    assert batch.target is not None
    made.task.eval()
    logits = made.task.forward_batch(batch).log_softmax(1)
    torch.testing.assert_close(made.task.loss(batch, "model"), -(logits * batch.target).sum(1).mean())
    assert made.test()["nll"] > 0


def test_only_training_rows_are_changed() -> None:
    loaders = lab("model=cnn", "data=digits", "augment=slides", "max_steps=1").loaders
    assert [loaders[name].augment is None for name in ("train", "val", "test")] == [False, True, True]
    plain = loaders["train"].load_rows(torch.arange(4)).inputs["x"]
    assert torch.equal(plain, loaders["train"].split.batch(torch.arange(4), 0).inputs["x"])
    assert not torch.equal(plain, loaders["train"].load_augmented_rows(torch.arange(4), 0).inputs["x"])


@pytest.mark.parametrize("name", list_options("augment"))
@pytest.mark.slow
def test_every_recipe_trains_on_images_large_enough(name: str) -> None:
    made = lab("model=cnn", "data=gratings", "data.size=130", "data.rows=20", f"augment={name}", "max_steps=1")
    made.trainer.fit()
    assert made.trainer.step == 1


def test_data_without_images_is_not_augmented() -> None:
    with pytest.raises(ConfigError, match=r"augment: photos changes x \(B, C, H, W\); data moons gives x \(B, F\)"):
        compose.compose(["model=mlp", "data=moons", "augment=photos"])


def test_an_option_of_another_recipe_says_which() -> None:
    with pytest.raises(
        ConfigError, match=r"augment.rotate: unknown key; .*\(rotate is a key of nudge, photos, pictures\)"
    ):
        compose.compose(["model=cnn", "data=gratings", "augment.rotate=5"])
