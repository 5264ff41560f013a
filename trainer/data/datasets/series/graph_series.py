"""Weekly spatiotemporal series on a graph."""

from __future__ import annotations

import json
import math
from typing import Literal

import torch

from trainer.core.dataset_info import DatasetInfo, TargetInfo
from trainer.core.prediction import DecodedPrediction, Prediction
from trainer.core.split import Split
from trainer.core.types import Fraction, PositiveInt
from trainer.data.encoding.forecast_dataset import HorizonDataset
from trainer.data.readers import download
from trainer.data.reference import baselines
from trainer.data.splits import windows
from trainer.data.splits.graph_batches import SplitWithSharedInputs

URL = (
    "https://raw.githubusercontent.com/benedekrozemberczki/pytorch_geometric_temporal/"
    "adefe44265ad8faf239fd6cf3b59b95ca3ee60aa/dataset/"
)
FILES = {
    "chickenpox": ("chickenpox.json", "724b48cfb274b2ecbb855bdb99b970b5ef9dd3671694fa477435dc1e08293735"),
    "pedalme": ("pedalme_london.json", "8c42b893441901fb805c4f0f937543d5bb9297884ac3dec7622a3e9f7c35a79b"),
}


class GraphSeries(HorizonDataset):
    """Chickenpox Hungary and Pedal Me London.

    ``chickenpox``: cases in the 20 counties of Hungary over 521 weeks, with edges between adjacent counties.
    ``pedalme``: bicycle deliveries in 15 parts of London over 35 weeks, fully connected with weights by proximity.
    Values are standardized as published; all scores are in these units. Splits are chronological. The baseline is the
    better of the training mean and repeating the last week.

    Args:
        name: Name of the series.
        history: Input length T in weeks.
        horizon: Forecast horizon P in weeks.
        val: Fraction of the weeks for validation, after the training weeks.
        test: Fraction of the weeks for test, the last ones.
        data_dir: Parent directory of ``NAME/``; None for the default data directory.

    References:
        Rozemberczki et al. 2021, Chickenpox Cases in Hungary: A Benchmark Dataset for Spatiotemporal Signal Processing
            with Graph Neural Networks, arXiv:2102.08100.
        Rozemberczki et al. 2021, PyTorch Geometric Temporal: Spatiotemporal Signal Processing with Neural Machine
            Learning Models, CIKM (Pedal Me).
    """

    shapes = "x (B, T, F), edge_index (2, E), edge_weight (E) -> (B, P, F)"

    def __init__(
        self,
        name: Literal["chickenpox", "pedalme"],
        history: PositiveInt,
        horizon: PositiveInt = 1,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        data_dir: str | None = None,
    ):
        file, sha256 = FILES[name]
        source = download.Source(file, sha256, URL + file)
        content = json.loads((download.fetch_files(name, [source], data_dir) / file).read_bytes())
        series = torch.tensor(content["FX" if "FX" in content else "X"])
        edge_index = torch.tensor(content["edges"]).t().contiguous()
        weight = torch.tensor(content["weights"]) if "weights" in content else torch.ones(edge_index.shape[1])

        weeks = len(series)
        before_test = weeks - math.ceil(weeks * test)
        ends = before_test - math.ceil(weeks * val), before_test, weeks
        parts = windows.chronological_splits(series, ends, history, horizon)
        graph = {"edge_index": edge_index, "edge_weight": weight}
        self.train, self.val, self.test = (SplitWithSharedInputs(part, graph) for part in parts)
        rules = baselines.mean_prediction(self.train, self.test), windows.seasonal_naive_scores(parts[2], 1)
        self.info = DatasetInfo(
            sizes={**windows.forecast_sizes(parts[0]), "num_nodes": series.shape[1]},
            baseline=min(rules, key=lambda scores: scores["mse"]),
            target=TargetInfo(unit=windows.STANDARDIZED_UNIT, channel_names=list(content.get("node_ids", ()))),
        )

    def decode_prediction(self, prediction: Prediction, split: Split, first: int) -> DecodedPrediction:
        rows = split.rows if isinstance(split, SplitWithSharedInputs) else split
        return super().decode_prediction(prediction, rows, first)
