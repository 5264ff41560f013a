"""Time of an epoch on Cora, by the trainer and by a plain loop over PyG's layers.

Run as ``python -m tests.bench.graphs DATA_DIR``.

An epoch is one training step on the whole graph and one evaluation on the validation nodes. All contenders are
interleaved in one run on one thread, and CPU time is counted, so that other load affects all alike.
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
"""Epochs of a contender in a round."""
DENSE_EPOCHS = 3
"""Epochs of the contender that compares all pairs of nodes."""
MAX_EPOCHS = 10_000
"""More than are run, so that no trainer finishes."""


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
    """Naive attention over concatenated pairs of all nodes, [N, N, H, 2 C], edges or not."""

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
        attention = score.masked_fill(adjacency.unsqueeze(-1) == 0, float("-inf")).softmax(1)
        out = torch.einsum("ijh,jhf->ihf", F.dropout(attention, 0.6, self.training), h)
        return out.flatten(1) if self.concat else out.mean(1)


class DenseGAT(nn.Module):
    def __init__(self, features: int, classes: int):
        super().__init__()
        self.first, self.last = DenseGATLayer(features, 8, 8, True), DenseGATLayer(64, classes, 1, False)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        adjacency = torch.eye(len(x)).index_put((edge_index[1], edge_index[0]), torch.ones(()))
        h = F.elu(self.first(F.dropout(x, 0.6, self.training), adjacency))
        return self.last(F.dropout(h, 0.6, self.training), adjacency)


def make_plain_epoch(model: nn.Module, data: Dataset) -> Callable[[], None]:
    """Return an epoch as in tutorials, with a mask (N,) for each split."""
    train, val = data.train.full_batch, data.val.full_batch
    x, edge_index = train.inputs["x"], train.inputs["edge_index"]
    train_mask, val_mask = (
        torch.zeros(len(x), dtype=torch.bool).index_fill(0, b.output_index, True) for b in (train, val)
    )
    label = torch.zeros(len(x), dtype=torch.long)
    label[train.output_index], label[val.output_index] = train.target, val.target
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, weight_decay=5e-4)

    def epoch() -> None:
        model.train()
        optimizer.zero_grad()
        F.cross_entropy(model(x, edge_index)[train_mask], label[train_mask]).backward()
        optimizer.step()
        model.eval()
        with torch.no_grad():
            float((model(x, edge_index).argmax(1)[val_mask] == label[val_mask]).float().mean())

    return epoch


def make_trainer_epoch(*overrides: str) -> Callable[[], None]:
    trainer = lab(*overrides, f"epochs={MAX_EPOCHS}").trainer

    def epoch() -> None:
        trainer.train_epoch()
        trainer.run_validation()
        trainer.epoch, trainer.batch = trainer.epoch + 1, 0

    return epoch


def measure_milliseconds(epoch: Callable[[], None]) -> float:
    """Return the CPU time of an epoch."""
    start = time.process_time()
    epoch()
    return 1e3 * (time.process_time() - start)


def main(data_dir: str) -> None:
    torch.set_num_threads(1)
    cora = ("data=cora", f"data_dir={data_dir}")
    data = lab("model=gcn", *cora).data
    sizes = data.info.sizes["in_features"], data.info.sizes["num_classes"]
    contenders = {
        "GCN": make_trainer_epoch("model=gcn", *cora),
        "GCN, PyG": make_plain_epoch(PlainGCN(*sizes, 0.5), data),
        "GCN, PyG, no input dropout": make_plain_epoch(PlainGCN(*sizes, 0.0), data),
        "GAT": make_trainer_epoch("model=gat", *cora),
        "GAT, PyG": make_plain_epoch(PlainGAT(*sizes), data),
    }
    times_by_name: dict[str, list[float]] = {name: [] for name in contenders}
    for round_index in range(ROUNDS):
        for name, epoch in contenders.items():
            times = [measure_milliseconds(epoch) for _ in range(EPOCHS)]
            if round_index:
                times_by_name[name] += times
    # Seconds each: a few epochs without interleaving show a difference of three orders of magnitude.
    dense_epoch = make_plain_epoch(DenseGAT(*sizes), data)
    times_by_name["GAT, all pairs"] = [measure_milliseconds(dense_epoch) for _ in range(DENSE_EPOCHS)]
    print(f"{'ms an epoch':28s} median (trainer / PyG)   minimum (trainer / PyG)")
    for name, times in times_by_name.items():
        cells = (
            f"{statistic(times):8.2f} {statistic(times_by_name[name[:3]]) / statistic(times):15.4f}"
            for statistic in (median, min)
        )
        print(f"{name:28s}" + " ".join(cells))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "../shared/data")
