"""Arithmetic and messages of the programs of ONNX exports, against those of the package, without a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.idx_files import idx
from tests.helpers.pairs import build_dataset
from trainer.core import prediction
from trainer.core.dataset_info import DatasetInfo, TargetInfo
from trainer.data.readers.skipped_rows import SKIP_HINT
from trainer.data.splits import windows
from trainer.export.preprocessing_file import describe_program
from trainer.export.standalone import outputs, predict_images, program
from trainer.export.standalone.predict_series import interpolate_gaps
from trainer.export.standalone.program import Rows
from trainer.tasks.evaluation import class_decisions
from trainer.utils.errors import DataError

DECISIONS = {"temperature": 1.7, "threshold": 0.3, "score_quantile": 0.6}


@pytest.mark.parametrize("names", [(), ("temperature",), tuple(DECISIONS)])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_labels_probabilities_and_sets(width: int, names: tuple[str, ...]) -> None:
    logits = torch.randn(50, width, generator=torch.Generator().manual_seed(0))
    values = {name: DECISIONS[name] for name in names if width < 3 or name != "threshold"}
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
    full = torch.cat((torch.zeros_like(logits), logits), 1) if width == 1 else logits
    scaled = class_decisions.scale_logits(full, tensors)
    fields = {
        "label": class_decisions.decide(scaled, tensors),
        "probabilities": scaled.double().softmax(1),
    }
    if "score_quantile" in values:
        fields["class_set"] = class_decisions.find_class_sets(scaled, tensors)
    class_names = [f"c{index}" for index in range(full.shape[1])]
    expected = prediction.decode(fields, DatasetInfo(sizes={}, class_names=class_names))
    options = {"kind": "classes", "class_names": class_names, **values}
    found = outputs.predict_rows({"row": range(50)}, logits.numpy(), options)
    assert list(found) == ["row", *expected]
    for title, cells in expected.items():
        if title.startswith("p_"):
            assert np.allclose(np.asarray(found[title]), np.asarray(cells), atol=1e-7)
        else:
            assert list(found[title]) == list(cells)


@pytest.mark.parametrize("width", [1, 3])
def test_numbers_and_intervals_in_their_own_units(width: int) -> None:
    moments = ([float(10 * index) for index in range(width)], [2.0 + index for index in range(width)])
    target = TargetInfo(channel_names=[f"n{index}" for index in range(width)], channel_moments=moments)
    values, half_width = torch.randn(9, width), torch.rand(width, dtype=torch.float64)
    fields = {"value": values, "lower": values.double() - half_width, "upper": values.double() + half_width}
    expected = prediction.decode(fields, DatasetInfo(sizes={}, target=target))
    options = {"kind": "numbers", "mean": moments[0], "scale": moments[1], "channels": target.channel_names}
    found = outputs.predict_rows({}, values.numpy(), {**options, "residual_quantile": half_width.tolist()})
    assert list(found) == list(expected)
    assert all(np.allclose(np.asarray(found[title]), np.asarray(cells)) for title, cells in expected.items())


def test_names_that_are_titles_of_predictions_get_another_one() -> None:
    options = {"kind": "classes", "class_names": ["a", "b"]}
    assert list(outputs.predict_rows({"label": [1]}, np.zeros((1, 2)), options))[:2] == ["label (input)", "label"]


def test_gaps_are_interpolated_like_those_of_windows() -> None:
    history = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    history[[0, 1, 7, 8, 9, 29], [0, 0, 1, 1, 1, 2]] = np.nan
    expected = windows.interpolate_gaps(torch.from_numpy(history)[None])[0].numpy()
    assert np.allclose(interpolate_gaps(history), expected, atol=1e-6)


def test_idx_files_are_read_like_those_of_the_data_set(tmp_path: Path) -> None:
    data = build_dataset("idx")
    pixels = np.random.default_rng(0).integers(0, 256, (300, data.info.sizes["height"], data.info.sizes["width"]))
    path = tmp_path / "new-images-idx3-ubyte"
    path.write_bytes(idx(pixels.astype(np.uint8).tobytes(), *pixels.shape))
    (split,) = data.read_chunks(str(path))
    expected = split.to_model_inputs(split.batch(torch.arange(300), 0)).inputs["x"].numpy()
    encoding = json.loads(json.dumps(data.describe_encoding()))
    parts = list(predict_images.read_rows(str(path), encoding))
    assert np.array_equal(np.concatenate([part.inputs["x"] for part in parts]), expected)
    assert [name for part in parts for name in part.names["row"]] == [*range(1, 301)]
    path.write_bytes(idx(bytes(12), 1, 3, 4))
    with pytest.raises(DataError, match=r"images in .* are 4 x 3; this run was trained on"):
        list(predict_images.read_rows(str(path), encoding))


def read_nothing(*_: Any) -> Any:
    return iter([Rows({"row": []}, {"x": np.zeros((0, 2), np.float32)})])


@pytest.mark.parametrize(
    ("version", "output", "message"),
    [
        (1, "out.txt", "the suffix must be .csv"),
        (1, "nowhere/out.csv", "nowhere does not exist"),
        (1, "in.csv", "is a file that is read"),
        (1, "~/in.csv", "is a file that is read"),
        (2, "out.csv", "version 2; this program reads 1"),
        (1, "out.csv", "has no rows"),
    ],
)
def test_outputs_and_versions_are_checked(
    version: int, output: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(program, "load_model", lambda _: None)
    for name in ("in.csv", "model.onnx"):
        Path(name).touch()
    Path("preprocess.json").write_text(json.dumps({"format_version": version, "encoding": {}, "outputs": {}}))
    with pytest.raises(DataError, match=message):
        program.predict_file(read_nothing, outputs.predict_rows, Path(), "~/in.csv", output)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "model.onnx", "preprocess.json"]
    Path("model.onnx").unlink()
    with pytest.raises(DataError, match=r"model\.onnx does not exist; predict\.py belongs to the folder of its export"):
        program.predict_file(read_nothing, outputs.predict_rows, Path(), "in.csv", "out.csv")


def raise_data_error(*_: Any) -> Any:
    raise DataError("bad.csv: row 1: 'x' is not a number", SKIP_HINT)


def press_ctrl_c(*_: Any) -> Any:
    yield Rows({"row": [1]}, {"x": np.zeros((1, 2), np.float32)})
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("read_rows", "code", "message"),
    [(raise_data_error, 2, "error: bad.csv: row 1: 'x' is not a number\n"), (press_ctrl_c, 130, "")],
)
def test_program_ends_without_a_traceback_a_file_or_options_that_it_lacks(
    read_rows: Any,
    code: int,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(program, "load_model", lambda _: lambda inputs: inputs["x"])
    monkeypatch.setattr("sys.argv", ["predict.py", "in.csv", "out.csv"])
    options = {"format_version": 1, "encoding": {}, "outputs": {"kind": "classes", "class_names": ["a", "b"]}}
    Path("preprocess.json").write_text(json.dumps(options))
    Path("model.onnx").touch()
    assert program.main(read_rows, tmp_path) == code
    assert capsys.readouterr() == ("", message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "preprocess.json"]


def test_export_says_whether_there_is_a_program(tmp_path: Path) -> None:
    file = tmp_path / "preprocess.json"
    file.write_text(json.dumps({"program": "tables"}))
    assert describe_program(tmp_path).startswith(f"{tmp_path / 'predict.py'}: predicts files without torch")
    file.write_text(json.dumps({"program": None, "reason": "the inputs are arrays"}))
    assert describe_program(tmp_path) == f"{file}: no predict.py, because the inputs are arrays"
