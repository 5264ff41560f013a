"""Vector quantizer against plain loops, and restarts where k-means alone is stuck."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.models.layers.generative.vector_quantizer import VectorQuantizer, compute_distances, straight_through

CENTERS = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0], [4.0, 4.0]])


def make_quantizer(codebook: Tensor, restarts: bool = True, decay: float = 0.9) -> VectorQuantizer:
    """Build a quantizer in training mode with the codebook, all codes equally used."""
    quantizer = VectorQuantizer(len(codebook), codebook.shape[1], decay, restarts)
    quantizer.codebook.copy_(codebook)
    quantizer.ema_cluster_size.fill_(1 / len(codebook))
    quantizer.ema_cluster_sum.copy_(codebook / len(codebook))
    return quantizer


def sample_clusters(centers: Tensor, rows: int, sigma: float = 0.2) -> Tensor:
    return centers[torch.randint(len(centers), (rows,))] + sigma * torch.randn(rows, centers.shape[1])


def test_straight_through_gradient_is_identity() -> None:
    z, vectors, weight = (torch.randn(5, 3, 2) for _ in range(3))
    z.requires_grad_()
    output = straight_through(z, vectors)
    torch.testing.assert_close(output, vectors)
    (output * weight).sum().backward()
    assert torch.equal(z.grad, weight)  # type: ignore[arg-type]


def test_codes_match_nearest_neighbor_loop() -> None:
    quantizer, z = make_quantizer(torch.randn(7, 3)).eval(), torch.randn(4, 6, 3)
    vectors, codes = quantizer(z)
    for index in np.ndindex(4, 6):
        distances = [float((z[index] - code).square().sum()) for code in quantizer.codebook]
        assert codes[index] == np.argmin(distances)
        assert torch.equal(vectors[index], quantizer.codebook[codes[index]])


def test_ema_update_matches_paper() -> None:
    """Appendix A of van den Oord et al. 2017 in numpy; a code without assigned rows does not move."""
    quantizer = VectorQuantizer(3, 2, decay=0.8, restarts=False)
    quantizer.codebook.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [90.0, 90.0]]))
    codebook, cluster_size, sums = quantizer.codebook.double().numpy().copy(), np.zeros(3), np.zeros((3, 2))
    for _ in range(5):
        z = torch.rand(4, 3, 2)
        quantizer(z)
        rows = z.double().numpy().reshape(-1, 2)
        codes = ((rows[:, None] - codebook) ** 2).sum(2).argmin(1)
        for code in range(3):
            assigned = rows[codes == code]
            cluster_size[code] = 0.8 * cluster_size[code] + 0.2 * len(assigned) / 12
            sums[code] = 0.8 * sums[code] + 0.2 * assigned.sum(0) / 12
        codebook[:2] = sums[:2] / cluster_size[:2, None]
        np.testing.assert_allclose(quantizer.codebook, codebook, atol=1e-5)
        np.testing.assert_allclose(quantizer.ema_cluster_size, cluster_size, atol=1e-6)


def test_codebook_updates_only_in_training_with_update_codebook() -> None:
    quantizer, z = make_quantizer(CENTERS), torch.randn(9, 2)
    before = {name: value.clone() for name, value in quantizer.state_dict().items()}
    quantizer(z, update_codebook=False)
    quantizer.eval()(z)
    assert all(torch.equal(value, before[name]) for name, value in quantizer.state_dict().items())
    quantizer.train()(z)
    assert not torch.equal(quantizer.codebook, before["codebook"])


def count_used_codes(quantizer: VectorQuantizer, z: Tensor) -> int:
    return len(quantizer.eval()(z)[1].unique())


@pytest.mark.parametrize(("restarts", "num_used"), [(True, 4), (False, 1)])
def test_unused_codes_are_restarted(restarts: bool, num_used: int) -> None:
    quantizer = make_quantizer(torch.tensor([[2.0, 2.0], [99.0, 0.0], [0.0, 99.0], [99.0, 99.0]]), restarts)
    for _ in range(60):
        quantizer(sample_clusters(CENTERS, 32))
    assert count_used_codes(quantizer, sample_clusters(CENTERS, 200)) == num_used


@pytest.mark.parametrize("restarts", [True, False])
def test_duplicate_code_is_restarted_at_shared_cluster(restarts: bool) -> None:
    """A local optimum of k-means: every code is used, two of them for the same cluster."""
    quantizer = make_quantizer(torch.tensor([[0.0, -0.1], [0.0, 0.1], [0.0, 4.0], [4.0, 2.0]]), restarts)
    for _ in range(100):
        quantizer(sample_clusters(CENTERS, 32))
    error = (quantizer.eval()(CENTERS)[0] - CENTERS).norm(dim=1).max()
    assert (error < 0.3) == restarts


def test_small_batches_do_not_reset_good_codebook() -> None:
    quantizer = make_quantizer(CENTERS, decay=0.99)
    for _ in range(300):
        quantizer(sample_clusters(CENTERS, 6))
        assert (quantizer.codebook - CENTERS).norm(dim=1).max() < 0.5


def test_first_batch_initializes_codebook() -> None:
    quantizer = VectorQuantizer(16, 2, decay=0.99, restarts=True)
    z = 50 + torch.randn(200, 2)
    quantizer(z)
    assert ((quantizer.codebook - 50).norm(dim=1) < 5).all()
    assert count_used_codes(quantizer, z) > 8


def test_nonfinite_input_does_not_raise() -> None:
    """The NaN guard of the training loop reports it, with the rows of the batch."""
    make_quantizer(CENTERS)(torch.full((3, 2), torch.nan))


def test_autocast_does_not_change_codebook() -> None:
    without_autocast, with_autocast, z = make_quantizer(CENTERS), make_quantizer(CENTERS), torch.randn(20, 2)
    for quantizer in (without_autocast, with_autocast):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=quantizer is with_autocast):
            quantizer(z)
    assert torch.equal(without_autocast.codebook, with_autocast.codebook)


@pytest.mark.slow
def test_ema_update_does_not_synchronize_device() -> None:
    """Meta tensors raise when a value is read."""
    quantizer, rows = make_quantizer(CENTERS).to("meta"), torch.empty(9, 2, device="meta")
    quantizer.ema_update(rows, *compute_distances(rows, quantizer.codebook).min(1))
    assert quantizer.codebook.is_meta
