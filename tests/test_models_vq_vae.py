"""Models that say a row in a few codes: sizes, and a prior that sees only what it has written."""

from __future__ import annotations

import pytest
import torch

from trainer.models.vq_vae import VQVAE, ConvVQVAE, Prior

CODES = {
    "codes": 5,
    "code_width": 3,
    "decay": 0.99,
    "restarts": True,
    "prior_width": 8,
    "prior_layers": 2,
    "prior_dropout": 0.0,
    "num_classes": None,
}


@pytest.mark.parametrize(("size", "grid"), [((1, 8, 8), (2, 2)), ((3, 5, 7), (2, 2)), ((1, 1, 9), (1, 3))])
def test_pictures_of_any_size_have_a_grid_of_codes(size: tuple[int, int, int], grid: tuple[int, int]) -> None:
    made = ConvVQVAE(*size, widths=[4, 6], **CODES).eval()  # type: ignore[arg-type]
    x = torch.rand(2, *size)
    assert made.grid == grid
    assert made.quantise(made.encode(x))[1].shape == (2, grid[0] * grid[1])
    assert made(x).shape == made.generate(2).shape == x.shape


def test_a_code_stands_where_its_part_of_the_picture_does() -> None:
    made = ConvVQVAE(1, 16, 16, widths=[4, 6], **CODES)  # type: ignore[arg-type]
    x = torch.rand(1, 1, 16, 16)
    other = x.clone()
    other[:, :, 13:, 14:] = 9
    changed = (made.encode(x) != made.encode(other)).any(2).view(4, 4)
    assert changed[3, 3]
    assert not changed[:2, :2].any()


def test_points_have_as_many_codes_as_groups() -> None:
    made = VQVAE(flat_features=6, hidden=[8], groups=4, **CODES).eval()  # type: ignore[arg-type]
    x = torch.rand(3, 2, 3)
    z = made.encode(x)
    assert z.shape == (3, 4, 3)
    assert made.code_scores(made.quantise(z)[1]).shape == (3, 4, 5)
    assert made(x).shape == x.shape
    assert made.generate(3).shape == (3, 6)


def prior(num_classes: int | None = None) -> Prior:
    return Prior(codes=5, places=4, width=8, layers=2, dropout=0.0, num_classes=num_classes)


def test_scores_of_a_code_depend_on_those_before_it_alone() -> None:
    made, codes = prior(), torch.randint(5, (6, 4))
    for place in range(4):
        other = codes.clone()
        other[:, place] = (other[:, place] + 1) % 5
        same = (made(codes) == made(other)).all(2).all(0)
        assert same[: place + 1].all()
        assert not same[place + 1 :].any()


def test_writing_follows_the_scores_of_what_is_written() -> None:
    made = prior()
    with torch.no_grad():
        made.head.weight.mul_(200)  # certain of each next code
        written = made.write(50)
        assert torch.equal(made(written).argmax(2), written)


def test_a_class_is_told_by_the_token_a_row_begins_with() -> None:
    made, codes = prior(3), torch.randint(5, (1, 4)).expand(3, 4)
    scores = made(codes, torch.arange(3))
    assert not torch.equal(scores[0], scores[1])
    assert torch.equal(scores[:1], made(codes[:1], torch.tensor([0])))


def test_a_written_code_comes_as_often_as_it_is_likely() -> None:
    made = Prior(codes=3, places=1, width=8, layers=1, dropout=0.0, num_classes=None)
    share = torch.tensor([0.7, 0.2, 0.1])
    with torch.no_grad():
        made.head.weight.zero_()
        made.head.bias.copy_(share.log())
    written = made.write(20000).flatten().bincount(minlength=3) / 20000
    torch.testing.assert_close(written, share, atol=0.015, rtol=0)
