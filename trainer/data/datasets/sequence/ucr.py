"""UCR/UEA time series classification archive (Dau et al. 2019; Bagnall et al. 2018)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.core.class_sizes import class_sizes
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.preprocessing import Preprocessing, make_content_keys
from trainer.core.types import Fraction, NonNegativeInt
from trainer.data.encoding import ragged_rows, ragged_series
from trainer.data.encoding.standardization import tensor_mean_and_scale
from trainer.data.readers import series_files, ts_format
from trainer.data.readers.download import Source, data_root, fetch_files
from trainer.data.reference import baselines
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.data.splits.splitting import stratified_order
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean

URL = "https://raw.githubusercontent.com/sktime/sktime/7bd7d1620c0656f3210eeb850bb1c0034159ee47/sktime/datasets/data/"
SHA256 = {
    "BasicMotions/BasicMotions_TEST.ts": "79213102bc6fca1a398ad98ce1185dff0208fa3d1465e687f48288946b0ff8dc",
    "BasicMotions/BasicMotions_TRAIN.ts": "8dc43cc6306cb679c888c01e26f91772ac4441a916da43bac8b79734a538b9d6",
    "GunPoint/GunPoint_TEST.ts": "79332750788a6227b325b96bd0d70130c8eb707b9731f8d7dec62b7a7d36017e",
    "GunPoint/GunPoint_TRAIN.ts": "f842401779fd9800d247d8b33121a1a4643710a19b24917dbdd9a060ca8630d5",
    "ItalyPowerDemand/ItalyPowerDemand_TEST.ts": "26122451f87dd0387ef90b18bc8a86c041371b8a1c068004922b939971247144",
    "ItalyPowerDemand/ItalyPowerDemand_TRAIN.ts": "341269cb7e6cef96846b30e774580beec79addb93848ba360145219115a74b7c",
    "JapaneseVowels/JapaneseVowels_TEST.ts": "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462",
    "JapaneseVowels/JapaneseVowels_TRAIN.ts": "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd",
}
"""Files that can be downloaded; others are read from ``data_dir``."""


class UCR(Dataset):
    """Time series classification data set of the UCR/UEA archive, univariate or multivariate.

    Series may differ in length. The test split is the one of the archive; validation takes the fraction ``val`` of its
    training rows, stratified by class. Every dimension has mean 0 and standard deviation 1 over the steps of the
    training rows.

    Args:
        name: Name of a data set that can be downloaded, or whose files are in ``ucr/NAME/``.
        val: Fraction of the training rows for validation.
        seed: Random seed of the split.
        data_dir: Parent directory of ``ucr/``; None for the default data directory.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: Unknown name, or an invalid file (see ``ts_format.read``).

    References:
        Dau et al. 2019, The UCR Time Series Archive, IEEE/CAA J. Automatica Sinica 6(6).
        Bagnall et al. 2018, The UEA Multivariate Time Series Classification Archive, arXiv:1811.00075.
    """

    shapes = "x (B, T, F), lengths (B) -> (B)"

    file_suffixes = ("_train.ts", "_test.ts")
    reusable_values = MappingProxyType({"scale": ("name",)})

    @classmethod
    def get_user_paths(cls, options: Mapping[str, Any], paths: Mapping[str, Path]) -> dict[str, Path]:
        """Return the directory of a data set that has no pinned digest.

        Args:
            options: Options of the data set, as in the configuration.
            paths: Those of them that are ``DataPath``, of which there are none.
        """
        name = options["name"]
        if any(path.startswith(f"{name}/") for path in SHA256):
            return {}
        return {"data_dir": data_root(options["data_dir"]) / "ucr" / name}

    def __init__(
        self,
        name: str = "JapaneseVowels",
        val: Fraction = 0.2,
        seed: NonNegativeInt = 0,
        data_dir: str | None = None,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        folder = _find_dir(name, data_dir)
        train, test = (ts_format.read(folder / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
        features = [cases.series[0].shape[1] for cases in (train, test)]
        if train.classes != test.classes or features[0] != features[1]:
            raise DataError(f"name: TRAIN and TEST of {name} differ in classes or dimensions")
        classes = len(fitted.get_or_fit("classes", lambda: train.classes))
        if train.classes != fitted.values["classes"]:
            raise DataError(
                f"name: {name} has the classes {train.classes}; this run was trained on {fitted.values['classes']}"
            )
        series, labels = train.series + test.series, torch.cat((train.labels, test.labels))

        def make_split() -> list[Tensor]:
            order = stratified_order(train.labels, seed)
            num_train = len(order) - round(len(order) * val)
            if not 0 < num_train < len(order):
                raise DataError(f"val: {val:g} of {len(order)} rows leaves {num_train} training rows")
            return [order[:num_train], order[num_train:], torch.arange(len(order), len(series))]

        split_rows = fitted.split_rows(make_content_keys(row.numpy().tobytes() for row in series), make_split)
        scale = fitted.get_or_fit("scale", lambda: _channel_moments([series[row] for row in split_rows[0]]))

        def split(index: Tensor) -> RaggedSplit:
            names = [f"name: case {row + 1} of {name}" for row in index.tolist()]
            return RaggedSplit({"x": _standardize([series[row] for row in index], scale, names)}, labels[index])

        self.train, self.val, self.test = map(split, split_rows)
        self.info = DatasetInfo(
            sizes={
                "in_features": features[0],
                "seq_len": max(map(len, series)),
                **class_sizes(classes),
            },
            baseline=baselines.majority_class(self.train, self.test, classes),
            class_names=train.classes,
        )

    def read(self, path: str) -> RaggedSplit:
        return next(self.read_chunks(path))

    def read_chunks(self, path: str, with_targets: bool = False, labels: bool | None = None) -> Iterator[RaggedSplit]:
        """Read series from a .ts file, a text file with one series per line, or a folder of such files.

        Args:
            path: File or folder; series may be of other lengths than those of training.
            with_targets: Read the classes too.
            labels: Whether the lines of text files begin with a class; None if all of them begin with one of this run.

        Raises:
            DataError: A series has other dimensions or an invalid value, or with targets an unknown class.
        """
        assert self.fitted is not None
        classes, files = self.fitted.get("classes"), series_files.list_files(path, "input")
        for file in files:
            cases = series_files.read_cases(file, "input", classes, labels)
            target = torch.tensor(series_files.index_classes(cases, classes, file, "input")) if with_targets else None
            locations = [f"input: {file}:{line}" for line in cases.lines]
            x = _standardize(cases.series, self.fitted.get("scale"), locations)
            names = [f"{file.name}:{case}" for case in range(1, len(cases.series) + 1)]
            yield RaggedSplit({"x": x}, target, ("case", names) if Path(path).expanduser().is_dir() else None)

    def encode_rows(self, rows: Any) -> RaggedSplit:
        """Encode series in memory.

        Args:
            rows: List of series (T,) or (T, F) of any lengths, or an array (N, T) or (N, T, F) padded with NaN.

        Raises:
            DataError: A series has other dimensions or an invalid value.
        """
        assert self.fitted is not None
        series = ragged_rows.to_series(rows)
        locations = [f"rows: series {row}" for row in range(1, len(series) + 1)]
        return RaggedSplit({"x": _standardize(series, self.fitted.get("scale"), locations)}, None)

    def describe_encoding(self) -> dict[str, Any]:
        assert self.fitted is not None
        scale = self.fitted.get("scale")
        return {
            "program": "cases",
            "classes": list(self.fitted.get("classes")),
            "mean": scale["mean"].tolist(),
            "std": scale["std"].tolist(),
        }

    def row_schema(self) -> dict[str, Any]:
        number = {"type": "number"}
        dims = self.info.sizes["in_features"]
        step = number if dims == 1 else {"type": "array", "items": number, "minItems": dims, "maxItems": dims}
        return {"type": "array", "items": step, "minItems": 1}


def _standardize(
    series: Sequence[Tensor | np.ndarray], scale: Mapping[str, Tensor], locations: Sequence[str]
) -> Ragged:
    """Standardize series (T, F) by the training rows, see ``ragged_series.standardize_rows``."""
    moments = {name: value.numpy() for name, value in scale.items()}
    rows = ragged_series.standardize_rows(list(map(np.asarray, series)), moments, locations)
    return Ragged.from_rows(map(torch.from_numpy, rows))


def _channel_moments(series: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return mean and standard deviation (F,) of each dimension over all steps."""
    mean, std = tensor_mean_and_scale(torch.cat(list(series)))
    return {"mean": mean, "std": std}


def _find_dir(name: str, data_dir: str | None) -> Path:
    """Return the directory of the two files of a data set, downloading them if necessary."""
    root = fetch_files("ucr", [], data_dir)
    local = {path.parent.name for path in root.glob("*/*_TRAIN.ts") if path.name == f"{path.parent.name}_TRAIN.ts"}
    names = sorted(local | {path.split("/")[0] for path in SHA256})
    if name not in names:
        raise DataError(
            f"name: unknown data set {name}{did_you_mean(name, names) or ';'} available: {', '.join(names)} (in"
            f" {root}, or by download); place another one in {root / 'NAME' / 'NAME_TRAIN.ts'} and NAME_TEST.ts"
        )
    pinned = [Source(path, digest, URL + path) for path, digest in SHA256.items() if path.startswith(f"{name}/")]
    return fetch_files("ucr", pinned, data_dir) / name
