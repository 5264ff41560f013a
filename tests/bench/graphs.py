"""How long an epoch on Cora takes, here and in a plain loop over PyG's layers.

Run as ``python -m tests.bench.graphs DATA_DIR``.

An epoch is one training step on the whole graph and one evaluation on the validation nodes. All contenders take turns
in one run on one thread, and CPU time is counted, so that what else the machine does weighs on all alike.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GATConv, GCNConv

from tests.helpers.lab import lab
from trainer.core.dataset import Dataset

ROUNDS = 20
EPOCHS = 5
"""Of a contender in a round."""
DENSE_EPOCHS = 3
"""Of the one that compares all pairs of nodes."""
ALL_EPOCHS = 10_000
"""More than are run, so that no contender comes to an end."""


class PlainGCN(nn.Module):
    def __init__(self, features: int, classes: int, input_dropout: float):
        super().__init__()
        self.input_dropout = input_dropout
        self.first, self.last = GCNConv(features, 16, cached=True), GCNConv(16, classes, cached=True)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        if self.input_dropout:
            x = F.dropout(x, self.input_dropout, self.training)
        h = F.dropout(F.relu(self.first(x, edge_index)), 0.5, self.training)
        return self.last(h, edge_index)


class PlainGAT(nn.Module):
    def __init__(self, features: int, classes: int):
        super().__init__()
        self.first = GATConv(features, 8, heads=8, dropout=0.6)
        self.last = GATConv(64, classes, heads=1, concat=False, dropout=0.6)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        h = F.elu(self.first(F.dropout(x, 0.6, self.training), edge_index))
        return self.last(F.dropout(h, 0.6, self.training), edge_index)


class DenseGATLayer(nn.Module):
    """Attention as it is often written down first: every pair of nodes side by side, [N, N, H, 2 C], edges or not."""

    def __init__(self, features: int, width: int, heads: int, concat: bool):
        super().__init__()
        self.heads, self.concat = heads, concat
        self.project, self.score = nn.Linear(features, heads * width, bias=False), nn.Linear(2 * width, 1, bias=False)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        nodes = len(x)
        h = self.project(x).view(nodes, self.heads, -1)
        left, right = h.repeat_interleave(nodes, dim=0), h.repeat(nodes, 1, 1)
        pairs = torch.cat((left, right), dim=-1).view(nodes, nodes, self.heads, -1)
        score = F.leaky_relu(self.score(pairs), 0.2).squeeze(-1)
        share = score.masked_fill(adjacency.unsqueeze(-1) == 0, float("-inf")).softmax(1)
        out = torch.einsum("ijh,jhf->ihf", F.dropout(share, 0.6, self.training), h)
        return out.flatten(1) if self.concat else out.mean(1)


class DenseGAT(nn.Module):
    def __init__(self, features: int, classes: int):
        super().__init__()
        self.first, self.last = DenseGATLayer(features, 8, 8, True), DenseGATLayer(64, classes, 1, False)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        adjacency = torch.eye(len(x)).index_put((edge_index[1], edge_index[0]), torch.ones(()))
        h = F.elu(self.first(F.dropout(x, 0.6, self.training), adjacency))
        return self.last(F.dropout(h, 0.6, self.training), adjacency)


def plain(model: nn.Module, data: Dataset) -> Callable[[], None]:
    """An epoch as tutorials write it, with a mask (N,) for each split."""
    train, val = data.train.full_batch, data.val.full_batch
    x, edge_index = train.inputs["x"], train.inputs["edge_index"]
    trained, validated = (
        torch.zeros(len(x), dtype=torch.bool).index_fill(0, b.output_index, True) for b in (train, val)
    )
    label = torch.zeros(len(x), dtype=torch.long)
    label[train.output_index], label[val.output_index] = train.target, val.target
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)

    def epoch() -> None:
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(x, edge_index)[trained], label[trained]).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            float((model(x, edge_index).argmax(1)[validated] == label[validated]).float().mean())

    return epoch


def ours(*overrides: str) -> Callable[[], None]:
    trainer = lab(*overrides, f"epochs={ALL_EPOCHS}").trainer

    def epoch() -> None:
        trainer.train_epoch()
        trainer.run_validation()
        trainer.epoch, trainer.batch = trainer.epoch + 1, 0

    return epoch


def measured(epoch: Callable[[], None]) -> float:
    """Milliseconds of CPU time."""
    start = time.process_time()
    epoch()
    return 1e3 * (time.process_time() - start)


def main(data_dir: str) -> None:
    torch.set_num_threads(1)
    cora = ("data=cora", f"data_dir={data_dir}")
    data = lab("model=gcn", *cora).data
    sizes = data.info.sizes["in_features"], data.info.sizes["num_classes"]
    contenders = {
        "GCN": ours("model=gcn", *cora),
        "GCN, PyG": plain(PlainGCN(*sizes, 0.5), data),
        "GCN, PyG, no input dropout": plain(PlainGCN(*sizes, 0.0), data),
        "GAT": ours("model=gat", *cora),
        "GAT, PyG": plain(PlainGAT(*sizes), data),
    }
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(ROUNDS):
        for name, epoch in contenders.items():
            times = [measured(epoch) for _ in range(EPOCHS)]
            if turn:
                taken[name] += times
    # Seconds each: once a turn of its own is enough to tell three orders of magnitude.
    dense = plain(DenseGAT(*sizes), data)
    taken["GAT, all pairs"] = [measured(dense) for _ in range(DENSE_EPOCHS)]
    print(f"{'ms an epoch':28s} median (ours by theirs)   least (ours by theirs)")
    for name, times in taken.items():
        cells = (f"{of(times):8.2f} {of(taken[name[:3]]) / of(times):15.4f}" for of in (median, min))
        print(f"{name:28s}" + " ".join(cells))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
