from __future__ import annotations

import torch

from trainer.models.layers.graph.groups import group_softmax, max_groups, sum_groups

GROUP = torch.tensor([2, 0, 2, 0, 0])
VALUES = torch.tensor([1.0, 2.0, 3.0, 4.0, -5.0])


def test_sums_and_maxima_of_groups() -> None:
    assert sum_groups(VALUES, GROUP, 4).tolist() == [1, 0, 4, 0]
    assert max_groups(VALUES, GROUP, 4).tolist() == [4, -torch.inf, 3, -torch.inf]
    columns = torch.stack((VALUES, -VALUES), 1)
    assert max_groups(columns, GROUP, 3)[:, 1].tolist() == [5, -torch.inf, -1]


def test_softmax_of_groups_equals_that_of_each_group() -> None:
    probs = group_softmax(VALUES, GROUP, 4)
    for group in (0, 2):
        torch.testing.assert_close(probs[group == GROUP], VALUES[group == GROUP].softmax(0))


def test_softmax_of_a_group_without_finite_scores_is_zero() -> None:
    scores = VALUES.masked_fill(GROUP == 2, -torch.inf)
    probs = group_softmax(scores, GROUP, 3)
    assert probs[GROUP == 2].tolist() == [0, 0]
    assert float(probs.sum()) == 1
