"""A codebook that follows what it quantises: against plain loops, and where k-means alone would stay stuck."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.models.layers.generative.vector_quantizer import VectorQuantizer, compute_distances, straight_through

CENTRES = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])


def quantizer(codebook: Tensor, restarts: bool = True, decay: float = 0.9) -> VectorQuantizer:
    """In training, with that codebook, every code of it used alike so far."""
    made = VectorQuantizer(len(codebook), codebook.shape[1], decay, restarts)
    made.codebook.copy_(codebook)
    made.ema_cluster_size.fill_(1 / len(codebook))
    made.ema_cluster_sum.copy_(codebook / len(codebook))
    return made


def near(centres: Tensor, rows: int, sigma: float = 0.2) -> Tensor:
    return centres[torch.randint(len(centres), (rows,))] + sigma * torch.randn(rows, centres.shape[1])


def test_the_gradient_passes_straight_through() -> None:
    z, vectors, weight = (torch.randn(5, 3, 2) for _ in range(3))
    z.requires_grad_()
    found = straight_through(z, vectors)
    torch.testing.assert_close(found, vectors)
    (found * weight).sum().backward()
    assert torch.equal(z.grad, weight)  # type: ignore[arg-type]


def test_codes_are_the_nearest_of_a_double_loop() -> None:
    made, z = quantizer(torch.randn(7, 3)).eval(), torch.randn(4, 6, 3)
    vectors, codes = made(z)
    for place in np.ndindex(4, 6):
        away = [float((z[place] - code).square().sum()) for code in made.codebook]
        assert codes[place] == np.argmin(away)
        assert torch.equal(vectors[place], made.codebook[codes[place]])


def test_the_codebook_follows_as_in_the_paper() -> None:
    """Appendix A of van den Oord et al. 2017 in numpy; a code that nothing was ever near stays where it is."""
    made = VectorQuantizer(3, 2, decay=0.8, restarts=False)
    made.codebook.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [90.0, 90.0]]))
    book, used, sums = made.codebook.double().numpy().copy(), np.zeros(3), np.zeros((3, 2))
    for _ in range(5):
        z = torch.rand(4, 3, 2)
        made(z)
        rows = z.double().numpy().reshape(-1, 2)
        codes = ((rows[:, None] - book) ** 2).sum(2).argmin(1)
        for code in range(3):
            mine = rows[codes == code]
            used[code] = 0.8 * used[code] + 0.2 * len(mine) / 12
            sums[code] = 0.8 * sums[code] + 0.2 * mine.sum(0) / 12
        book[:2] = sums[:2] / used[:2, None]
        np.testing.assert_allclose(made.codebook, book, atol=1e-5)
        np.testing.assert_allclose(made.ema_cluster_size, used, atol=1e-6)


def test_it_follows_in_training_alone_and_when_it_is_let() -> None:
    made, z = quantizer(CENTRES), torch.randn(9, 2)
    before = {name: value.clone() for name, value in made.state_dict().items()}
    made(z, follow=False)
    made.eval()(z)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    made.train()(z)
    assert not torch.equal(made.codebook, before["codebook"])


def used(made: VectorQuantizer, z: Tensor) -> int:
    return len(made.eval()(z)[1].unique())


@pytest.mark.parametrize(("restarts", "codes"), [(True, 4), (False, 1)])
def test_codes_that_nothing_is_near_begin_anew(restarts: bool, codes: int) -> None:
    made = quantizer(torch.tensor([[2.0, 2.0], [99.0, 0.0], [0.0, 99.0], [99.0, 99.0]]), restarts)
    for _ in range(60):
        made(near(CENTRES, 32))
    assert used(made, near(CENTRES, 200)) == codes


@pytest.mark.parametrize("restarts", [True, False])
def test_a_code_for_two_clusters_takes_one_of_two_for_a_cluster(restarts: bool) -> None:
    """The start that k-means never leaves: every code is used, two of them for the same."""
    made = quantizer(torch.tensor([[0.0, -0.1], [0.0, 0.1], [0.0, 4.0], [4.0, 2.0]]), restarts)
    for _ in range(100):
        made(near(CENTRES, 32))
    error = (made.eval()(CENTRES)[0] - CENTRES).norm(dim=1).max()
    assert (error < 0.3) == restarts


def test_small_batches_do_not_reset_a_good_codebook() -> None:
    made = quantizer(CENTRES, decay=0.99)
    for _ in range(300):
        made(near(CENTRES, 6))
        assert (made.codebook - CENTRES).norm(dim=1).max() < 0.5


def test_the_first_batch_begins_the_codebook() -> None:
    made = VectorQuantizer(16, 2, decay=0.99, restarts=True)
    z = 50 + torch.randn(200, 2)
    made(z)
    assert ((made.codebook - 50).norm(dim=1) < 5).all()
    assert used(made, z) > 8


def test_what_is_not_finite_raises_nothing_here() -> None:
    """The guard of the loop tells it, with the rows of the batch."""
    quantizer(CENTRES)(torch.full((3, 2), torch.nan))


def test_a_lower_precision_around_it_changes_nothing() -> None:
    plain, other, z = quantizer(CENTRES), quantizer(CENTRES), torch.randn(20, 2)
    for made in (plain, other):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=made is other):
            made(z)
    assert torch.equal(plain.codebook, other.codebook)


@pytest.mark.slow
def test_no_number_is_read_back_from_the_device() -> None:
    """Tensors without values would raise at once."""
    made, rows = quantizer(CENTRES).to("meta"), torch.empty(9, 2, device="meta")
    made.ema_update(rows, *compute_distances(rows, made.codebook).min(1))
    assert made.codebook.is_meta
