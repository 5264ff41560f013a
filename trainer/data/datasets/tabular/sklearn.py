"""Toy tables bundled with scikit-learn; nothing is downloaded."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.class_sizes import class_sizes
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo, TableInfo, TargetInfo
from trainer.core.preprocessing import Preprocessing
from trainer.core.split import TensorSplit
from trainer.core.types import NonNegativeInt
from trainer.data.encoding import number_rows, table_schema
from trainer.data.encoding.table_schema import Schema
from trainer.data.reference import baselines
from trainer.data.splits.splitting import split_by_order, stratified_order
from trainer.utils.errors import DataError


class _StandardizedTable(Dataset):
    """Table of numbers whose features are standardized; runs of earlier versions do not store by which moments."""

    reusable_values = MappingProxyType({"feature_mean": ("name",), "feature_std": ("name",)})

    def encode_rows(self, rows: Any) -> TensorSplit:
        return number_rows.encode(rows, self._make_schema())

    def row_schema(self) -> dict[str, Any]:
        return table_schema.describe_row(self._make_schema())

    def _make_schema(self) -> Schema:
        if self.fitted is None:
            raise DataError(
                "rows: this run was saved by a version that stores no scale of its features; train it again"
            )
        mean, std = (self.fitted.get(name).tolist() for name in ("feature_mean", "feature_std"))
        return number_rows.make_schema(mean, std, self.info.table.feature_names)


class SklearnClassification(_StandardizedTable):
    """Breast cancer and wine data sets of scikit-learn.

    Features have mean 0 and standard deviation 1 over the training rows; splits are stratified by class.

    Args:
        name: Name of the data set.
        seed: Random seed of the split.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    References:
        Street, Wolberg and Mangasarian 1993, Nuclear Feature Extraction for Breast Tumor Diagnosis, SPIE 1905.
        Aeberhard and Forina 1991, Wine, UCI Machine Learning Repository.
    """

    shapes = "x (B, F) -> (B)"

    def __init__(
        self,
        name: Literal["breast_cancer", "wine"],
        seed: NonNegativeInt = 0,
        fitted: Preprocessing | None = None,
    ):
        from sklearn import datasets

        self.fitted = fitted or Preprocessing()
        bunch = {"breast_cancer": datasets.load_breast_cancer, "wine": datasets.load_wine}[name]()
        labels = torch.from_numpy(bunch.target.astype(np.int64))
        x = torch.from_numpy(bunch.data)
        self.train, self.val, self.test = _standardize_features(
            split_by_order({"x": x}, labels, stratified_order(labels, seed)), self.fitted
        )
        classes = len(bunch.target_names)
        self.info = DatasetInfo(
            sizes=_feature_sizes(self.train) | class_sizes(classes),
            baseline=baselines.majority_class(self.train, self.test, classes),
            class_names=[str(each) for each in bunch.target_names],
            table=TableInfo(feature_names=[*map(str, bunch.feature_names)]),
        )


class SklearnRegression(_StandardizedTable):
    """Diabetes data set of scikit-learn.

    Features and target have mean 0 and standard deviation 1 over the training rows; scores are in the original units of
    the target.

    Args:
        name: Name of the data set.
        seed: Random seed of the split.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    References:
        Efron et al. 2004, Least Angle Regression, Annals of Statistics 32(2).
    """

    shapes = "x (B, F) -> (B, K)"

    def __init__(
        self,
        name: Literal["diabetes"] = "diabetes",
        seed: NonNegativeInt = 0,
        fitted: Preprocessing | None = None,
    ):
        from sklearn import datasets

        self.fitted = fitted or Preprocessing()
        bunch = {"diabetes": datasets.load_diabetes}[name](scaled=False)
        target = torch.from_numpy(bunch.target).double()[:, None]
        x = torch.from_numpy(bunch.data)
        order = rng.make_permutation(len(x), seed, 0)
        parts = _standardize_features(split_by_order({"x": x}, target, order), self.fitted)
        train = parts[0].target
        assert train is not None
        mean, std = train.mean(), train.std(correction=0)
        self.train, self.val, self.test = (_standardize_target(part, mean, std) for part in parts)
        scale = float(std)
        self.info = DatasetInfo(
            sizes=_feature_sizes(self.train) | {"out_features": 1},
            baseline=baselines.mean_prediction(self.train, self.test, scale),
            target=TargetInfo(scale=scale, mean=float(mean)),
            table=TableInfo(feature_names=[*map(str, bunch.feature_names)]),
        )


def _feature_sizes(train: TensorSplit) -> dict[str, int]:
    width = train.inputs["x"].shape[1]
    return {"in_features": width, "flat_features": width}


def _standardize_features(
    parts: tuple[TensorSplit, TensorSplit, TensorSplit], fitted: Preprocessing
) -> tuple[TensorSplit, TensorSplit, TensorSplit]:
    """Standardize features to float32 by the mean and standard deviation of the first part."""
    first = parts[0].inputs["x"].double()
    mean = fitted.get_or_fit("feature_mean", lambda: first.mean(0))
    std = fitted.get_or_fit("feature_std", lambda: first.std(0, correction=0).clamp_min(1e-12))
    train, val, test = (TensorSplit({"x": ((part.inputs["x"] - mean) / std).float()}, part.target) for part in parts)
    return train, val, test


def _standardize_target(part: TensorSplit, mean: Tensor, std: Tensor) -> TensorSplit:
    return TensorSplit(part.inputs, ((part.require_target() - mean) / std).float())
