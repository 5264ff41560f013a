"""Checks of columns: unusable columns are reported at once, and column types are printed."""

from __future__ import annotations

import logging
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.helpers import small_graphs
from tests.helpers.lab import configure
from tests.helpers.small_tables import load, problem, write
from trainer.data.datasets.series.csv_series import CSVSeries
from trainer.data.datasets.tabular.csv_table import CSV
from trainer.utils.errors import DataError


def write_column(folder: Path, cells: list[str], name: str = "c") -> Path:
    return write(folder, [f"a,{name},y", *(f"{i % 5},{cell},{i % 2}" for i, cell in enumerate(cells))])


def get_warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def load_series(path: Path, **changes: object) -> CSVSeries:
    keys = configure("model=dlinear", "data=csv_series", f"data.path={path}", "data.history=5", "data.horizon=2")
    return CSVSeries(**{key: value for key, value in keys["data"].items() if key != "_target_"} | changes)


def test_date_columns_are_not_categorical(tmp_path: Path) -> None:
    days = [date(2020, 1, 1) + timedelta(days=i % 12) for i in range(60)]
    for form in ("%Y-%m-%d", "%d.%m.%Y", "%m/%d/%Y", "%d %B %Y", "%d-%b-%y", "%d.%m.%Y 12:30"):
        path = write_column(tmp_path, [f"{day:{form}}" for day in days])
        assert f"column 'c' holds times such as '{days[0]:{form}}'" in (message := problem(path)), form
        assert "data.drop_columns=[c] drops it" in message
        assert load(path, categorical=["c"]).schema["columns"][1]["kind"] == "category"
    assert "holds times such as '12:00'" in problem(write_column(tmp_path, [f"12:{i % 9:02d}" for i in range(60)]))
    for words in (["1.2.3", "1.10.3"], ["3-5", "6-9"], ["May", "June"]):
        load(write_column(tmp_path, words * 30))


def test_mixed_numbers_and_texts_are_reported(tmp_path: Path) -> None:
    cells = ["<5" if i % 5 < 3 else f"{5 + i / 7:.2f}" for i in range(100)]
    message = problem(write_column(tmp_path, cells))
    assert "column 'c' holds 40 numbers among 100 cells, and texts such as '<5'" in message
    assert "data.categorical=[c]" in message
    load(write_column(tmp_path, cells), categorical=["c"])
    units = [f"{i / 7:.1f} kg" if i % 2 else f"{i / 7:.1f}" for i in range(100)]
    assert "and texts such as '0.1 kg'" in problem(write_column(tmp_path, units))
    assert load(write_column(tmp_path, ["S", "M", "38", "40"] * 25)).info.sizes["in_features"] == 5, (
        "a few numbers are codes"
    )


def test_unicode_minus_signs_are_parsed(tmp_path: Path) -> None:
    path = write_column(tmp_path, [f"\u2212{i}" if i % 2 else str(i) for i in range(60)])
    assert load(path).schema["columns"][1]["kind"] == "number"


def test_filled_cells_that_were_not_missing_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_column(tmp_path, ["<5" if i % 10 == 0 else str(i) for i in range(60)])
    for nan, expected in (("fill", "the mean is imputed (6 such cells)"), ("drop", "the row is dropped")):
        caplog.clear()
        load(path, nan=nan)
        assert "row 1 (line 2), column 'c': '<5' is not a number" in caplog.text
        assert expected in caplog.text
    caplog.clear()
    load(path, nan="fill").read(str(write(tmp_path, ["a,c,y", "1,7 kg,0"], "new.csv")))
    assert "column 'c': '7 kg' is not a number; the mean is imputed (1 such cells)" in caplog.text


def test_a_missing_value_code_that_never_occurs_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = write_column(tmp_path, [f"{i % 9}.5" if i % 20 else "-9999.0" for i in range(60)])
    series = write(tmp_path, ["v", *(f"{i % 9}.5" if i % 20 else "-999.00" for i in range(100))], "s.csv")
    load(table, missing=["", -9999], nan="drop")
    load_series(series, missing=["?", "-9.99e2"], gaps="drop")
    assert not get_warnings(caplog)
    load(table, missing=["", "-999", -9999.5, "x"], nan="drop")
    assert "data.missing: no cell of t.csv is -999, -9999.5" in caplog.text
    load_series(series, missing=["-9999"], gaps="drop")
    assert "data.missing: no cell of s.csv is -9999" in get_warnings(caplog)[-1]
    graph = small_graphs.write(
        tmp_path, ["id,size,y", *(f"n{i},{i % 4},{i % 2}" for i in range(20))], ["source,target", "n0,n1"]
    )
    small_graphs.load_graph(graph, missing=["", -1])
    assert "data.missing: no cell of nodes.csv or edges.csv is -1" in get_warnings(caplog)[-1]


@pytest.mark.parametrize(
    ("sign", "option"),
    [
        ("'", "apostrophe"),
        ("\u2019", "apostrophe"),
        (" ", "space"),
        ("\u00a0", "space"),
        ("\u202f", "space"),
        (",", "comma"),
    ],
)
def test_thousands_separators_are_reported_by_every_reader(tmp_path: Path, sign: str, option: str) -> None:
    cells = [("980", f"12{sign}375", f"1{sign}020")[i % 3] for i in range(100)]
    table = write(tmp_path, ["a;c;y", *(f"{i % 5};{cell};{i % 2}" for i, cell in enumerate(cells))])
    series = write(tmp_path, ["v;w", *(f"{cell};{i % 3}" for i, cell in enumerate(cells))], "s.csv")
    nodes = ["id;size;y", *(f"n{i};{i % 4};{i % 2}" for i in range(20))]
    graph = small_graphs.write(tmp_path, nodes, ["source;target;weight", *(f"n{i};n1;{cells[i]}" for i in range(9))])
    for read in (
        lambda **options: load(table, **options),
        lambda **options: load(table, "c", target_kind="number", **options),
        lambda **options: load_series(series, **options),
        lambda **options: small_graphs.load_graph(graph, **options),
    ):
        with pytest.raises(DataError, match=f"data.thousands={option} reads it as 12375"):
            read()
        read(thousands=option)


@pytest.mark.parametrize(
    ("sign", "decimal", "thousands"), [(".", "point", "point"), (",", "comma", "comma")], ids=["point", "comma"]
)
def test_ambiguous_thousands_separators_are_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sign: str, decimal: str, thousands: str
) -> None:
    cells = [("980", f"12{sign}375", f"1{sign}020", "-75", "?")[i % 5] for i in range(100)]
    other = "comma" if decimal == "point" else "point"
    expected = (
        f"'1{sign}020' occurs together with '980' and is read as 1.02; if its separator is for thousands,"
        f" data.decimal={other} data.thousands={thousands} reads it as 1020"
    )
    table = write(tmp_path, ["a;c;y", *(f"{i % 5};{cell};{i % 2}" for i, cell in enumerate(cells))])
    series = write(tmp_path, ["v;w", *(f"{cell};{i % 3}" for i, cell in enumerate(cells))], "s.csv")
    for load_one in (
        lambda **options: load(table, nan="drop", **options),
        lambda **options: load(table, "c", target_kind="number", nan="drop", **options),
        lambda **options: load_series(series, gaps="interpolate", **options),
    ):
        caplog.clear()
        load_one(decimal=decimal)
        assert expected in caplog.text
        caplog.clear()
        load_one(decimal=other, thousands=thousands)
        assert not get_warnings(caplog)
    for others in (["1.5", "980"], ["1.025", "980"], ["1.020", "980.000"], ["0.020", "5"], ["1.020", "1980"]):
        load(write_column(tmp_path, others * 30))
        assert not get_warnings(caplog), others


def test_zero_padded_codes_are_categories(tmp_path: Path) -> None:
    zips = load(write_column(tmp_path, ["01234", "98765", "10001"] * 20)).schema["columns"][1]
    assert sorted(zips["categories"]) == ["01234", "10001", "98765"]
    codes = load(write_column(tmp_path, ["1_10", "11_0", "2_0"] * 20)).schema["columns"][1]
    assert sorted(codes["categories"]) == ["11_0", "1_10", "2_0"]
    drinks = load(write_column(tmp_path, ["caf\u00e9", "cafe\u0301", "tea"] * 20)).schema["columns"][1]
    assert drinks["categories"] == ["caf\u00e9", "tea"]
    assert "'07' and '7', which would be the same number" in problem(write_column(tmp_path, ["7", "07", "12"] * 20))


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["1_10", "11_0", "2_0"], ["11_0", "1_10", "2_0"]),
        (["01", "1", "2"], ["01", "1", "2"]),
        (["2021_01", "202101"], ["202101", "2021_01"]),
        (["900719925474099200", "900719925474099201"], ["900719925474099200", "900719925474099201"]),
        (["1", "1.0", "10", "2"], ["1", "2", "10"]),
        (["\u0661", "1"], ["1", "\u0661"]),
        (["+1", "1"], ["+1", "1"]),
        (["1.1", "1.10", "1.2"], ["1.1", "1.10", "1.2"]),
        (["1e3", "1000"], ["1000", "1e3"]),
        (["0x10", "16"], ["0x10", "16"]),
        (["inf", "infinity", "1"], ["1", "inf", "infinity"]),
        (["\uff11", "1"], ["1", "\uff11"]),
        (["caf\u00e9", "cafe\u0301", "tea"], ["caf\u00e9", "tea"]),
        (["007", "07", "7"], ["007", "07", "7"]),
    ],
)
def test_labels_are_texts_unless_all_are_plain_numbers(tmp_path: Path, cells: list[str], names: list[str]) -> None:
    data = load(write(tmp_path, ["a,y", *(f"{i % 5},{cells[i % len(cells)]}" for i in range(60))]))
    assert list(data.info.class_names) == names


def test_labels_of_new_rows_match_fitted_classes(tmp_path: Path) -> None:
    data = load(write(tmp_path, ["a,y", *(f"{i % 5},{i % 3}" for i in range(60))]))
    for cells, expected in ((["0.0", "2"], [0, 2]), (["00", "2"], None), (["x", "2"], None)):
        new = data.read(str(write(tmp_path, ["a,y", *(f"1,{cell}" for cell in cells)], "new.csv")))
        assert (None if new.target is None else new.target.tolist()) == expected
    versions = load(write(tmp_path, ["a,y", *(f"{i % 5},{('1.1', '1.10', '1.5')[i % 3]}" for i in range(60))]))
    new = versions.read(str(write(tmp_path, ["a,y", *(f"1,{cell}" for cell in ("1.10", "1.50", "1.1"))], "new.csv")))
    assert new.target is not None
    assert new.target.tolist() == [1, 2, 0]
    assert versions.read(str(write(tmp_path, ["a,y", "1,1.100"], "new.csv"))).target is None, (
        "two classes have that value"
    )


def test_a_label_equal_to_a_missing_value_marker_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path, ["a,y", *(f"{i % 5},{('none', 'some')[i % 2]}" for i in range(60))])
    message = problem(path, missing=["", "none"])
    assert "only one class, 'some'" in message
    assert (
        "30 cells are missing values by data.missing, which lists 'none': remove it to use them as a class" in message
    )
    assert load(path).info.class_names == ["none", "some"]
    three = write(tmp_path, ["a,y", *(f"{i % 5},{('none', 'some', 'much')[i % 3]}" for i in range(60))])
    assert "remove 'none' from data.missing to use it as a class" in problem(three, missing=["", "none"])


def write_messy_table(folder: Path) -> Path:
    lines = ["id,size,when,price,empty,kind"]
    for i in range(60):
        size = "?" if i == 3 else str(i % 7)
        price = '"1,020"' if i % 3 else "980"
        lines.append(f"person {i},{size},2020-01-{i % 28 + 1:02d},{price},,{'?' if i == 9 else 'ab'[i % 2]}")
    return write(folder, lines)


def test_all_errors_of_a_table_are_reported_at_once(tmp_path: Path) -> None:
    path = write_messy_table(tmp_path)
    message = problem(path, "kind")
    for expected in (
        "texts in 'id' rarely repeat",
        "row 4 (line 5), column 'size': missing value ('?')",
        "column 'when' holds times",
        "data.thousands=comma reads it as 1020",
        "column 'empty' is empty",
        "row 10 (line 11), column 'kind': missing value ('?')",
        "data.drop_columns=[id,when,price,empty] drops all 4 unusable columns",
    ):
        assert expected in message, expected
    load(path, "kind", thousands="comma", nan="drop", drop_columns=["id", "when", "empty"])


def test_all_missing_columns_are_reported_at_once(tmp_path: Path) -> None:
    message = problem(write_messy_table(tmp_path), "knid", drop_columns=["idd", "when"], categorical=["sise"])
    for expected in ("target: no column 'knid'", "drop_columns: no column 'idd'", "categorical: no column"):
        assert expected in message
    message = problem(write_messy_table(tmp_path), "kind", missing=["", "?", "a"])
    assert "only one class, 'b'" in message, "an invalid target hides no other error"
    assert "texts in 'id' rarely repeat" in message


def test_column_types_are_printed_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = (f"{i % 7 if i != 3 else '?'},{('x', 'y', f'z{i}')[i % 3]},{i},{'pqr'[i % 3]}" for i in range(60))
    path = write(tmp_path, ["age,zip,row,kind", *rows])
    with caplog.at_level(logging.INFO, logger="trainer"):
        data: CSV = load(path, "kind", nan="fill", drop_columns=["row"])
    assert data.info.file_summary == [
        "t.csv: 60 rows, with a header",
        "age: number, mean 2.898, 1 missing value",
        "zip: category, 2 + other",
        "row: dropped",
        "kind: class, 3 classes",
    ]
    assert "age: number, mean 2.898, 1 missing value" in caplog.text
