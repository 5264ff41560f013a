"""Header detection for first rows that contain numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.small_tables import load, problem, write
from trainer.data.readers import delimited, header_detection

FLOATS = [f"{0.1 * i + 0.01:.4f}" for i in range(40)]
DIGITS = [str(7 * i % 10) for i in range(40)]
WHOLE = [str(50 + 7 * i) for i in range(40)]


def transpose(*columns: list[str]) -> list[list[str]]:
    return list(map(list, zip(*columns, strict=True)))


@pytest.mark.parametrize(
    ("first", "columns", "expected"),
    [
        ("0,1,2", (FLOATS, FLOATS, FLOATS), True),
        (",0,1,2", (WHOLE, FLOATS, FLOATS, FLOATS), True),
        ("0,1,species", (WHOLE, WHOLE, ["yes", "no"] * 20), True),
        ("country,2019,2020", (["A", "B"] * 20, WHOLE, WHOLE), True),
        ("town,2019,2020", (list(map("t{}".format, range(40))), FLOATS, FLOATS), True),
        ("1990,1995,2005", (FLOATS, FLOATS, FLOATS), True),
        ("a,0", (FLOATS, ["0", "1"] * 20), True),
        ("1100,1102,1104", (FLOATS, FLOATS, FLOATS), True),
        # The default names of pandas, 0 to n - 1, which occur among the values too.
        ("0,1,species", (DIGITS, DIGITS, ["yes", "no"] * 20), True),
        (",0,1", (list(map(str, range(40))), DIGITS, DIGITS), True),
        (",0,1", (list(map(str, range(3, 83, 2))), FLOATS, DIGITS), True),
        (",0", (list(map(str, range(40))), FLOATS), True),
        (",0", ([f"2020-01-{day:02d}" for day in range(1, 29)], FLOATS[:28]), True),
        # Ambiguous.
        ("0", (FLOATS,), None),
        ("0.0,1.0,2.0", (FLOATS, FLOATS, FLOATS), None),
        ("0,1,2", (DIGITS, DIGITS, DIGITS), None),
        ("0,1", (WHOLE, WHOLE), None),
        ("0,1", (FLOATS, FLOATS), None),
        ("0,1,2", (WHOLE, WHOLE, WHOLE), None),
        ("2019,2020", (WHOLE, WHOLE), None),
        ("0,1,2", (FLOATS[:3], FLOATS[:3], FLOATS[:3]), None),
        # Not a header.
        ("0,1,1", (["1", "0"] * 20, ["0", "1"] * 20, ["1", "0"] * 20), False),
        ("0,1", (DIGITS, DIGITS), False),
        ("0", (DIGITS,), False),
        (",0", (DIGITS, FLOATS), False),
        ("0.0,1.0", (FLOATS, FLOATS), False),
        ("1,2,3", (DIGITS, DIGITS, DIGITS), False),
        (",0,1", (DIGITS, DIGITS, DIGITS), False),
        ("57,71,64", (WHOLE, WHOLE, WHOLE), False),
        ("5,6,7", (WHOLE, WHOLE, WHOLE), False),
        ("0.5,1.5,2.5", (FLOATS, FLOATS, FLOATS), False),
        ("0,1,yes", (WHOLE, WHOLE, ["yes", "no"] * 20), False),
        ("?,1,2", (FLOATS, WHOLE, WHOLE), False),
        ("3,yes", (WHOLE, ["yes", "no"] * 20), False),
        ("<5,3", (WHOLE, WHOLE), False),
        ("0,126;900".replace(";", ","), (WHOLE, WHOLE, WHOLE), False),
    ],
)
def test_looks_like_header_with_numeric_names(
    first: str, columns: tuple[list[str], ...], expected: bool | None
) -> None:
    assert header_detection.looks_like_header([first.split(","), *transpose(*columns)]) is expected


def test_first_row_with_decimal_commas_is_not_a_header() -> None:
    assert header_detection.looks_like_header([["0,126", "900,5"], ["-0,132", "975"], ["0,64", "937,50"]]) is False


def test_suggested_drop_columns_drops_the_index_column(tmp_path: Path) -> None:
    for first in (",0,1,2", "Unnamed: 0,0,1,2"):
        for index in (list(map(str, range(40))), [str(29 * i % 40) for i in range(40)]):
            path = write(tmp_path, [first, *map(",".join, transpose(index, DIGITS, FLOATS, ["yes", "no"] * 20))])
            message = problem(path, -1, header=True)
            assert "is unnamed and holds row numbers; data.drop_columns=[-4] drops it" in message
            data = load(path, -1, header=True, drop_columns=[-4])
            assert [column["name"] for column in data.schema["columns"]] == ["0", "1"]


def test_an_ambiguous_header_is_resolved_by_the_header_key(tmp_path: Path) -> None:
    path = write(tmp_path, ["0,1,2", *map(",".join, transpose(WHOLE, WHOLE[::-1], WHOLE))])
    assert "the first row of" in (message := problem(path, -1, target_kind="number"))
    assert "; set data.header=true for a header, data.header=false for numbers" in message
    sizes = [
        sum(len(split) for split in (data.train, data.val, data.test))
        for data in (load(path, -1, target_kind="number", header=header) for header in (True, False))
    ]
    assert sizes == [40, 41]


def test_number_beyond_column_positions_is_a_column_name(tmp_path: Path) -> None:
    path = write(tmp_path, ["2019,2020,2021", *map(",".join, transpose(WHOLE, FLOATS, WHOLE))])
    data = load(path, 2021, target_kind="number")
    assert data.schema["target"]["name"] == "2021"
    assert load(path, 2021, target_kind="number", drop_columns=[2019]).info.sizes["in_features"] == 1
    assert header_detection.has_column_names(["5", "2", "7"], (2,)) is False, "2 is the position of a column"
    assert header_detection.has_column_names(["5", "2", "x"], ("x", 2)) is True


def test_fitted_schema_recognizes_numeric_header_in_new_file(tmp_path: Path) -> None:
    rows = transpose(FLOATS, FLOATS[::-1], FLOATS)
    data = load(write(tmp_path, ["0,1,2", *map(",".join, rows)]), 2, target_kind="number")
    new = write(tmp_path, ["1,0", "0.2,0.3"], "new.csv")
    assert len(data.read(str(new))) == 1
    plain = write(tmp_path, ["0.1,0.5", "0.2,0.3"], "plain.csv")
    assert len(data.read(str(plain))) == 2


def test_excel_sep_line_sets_the_delimiter(tmp_path: Path) -> None:
    path = write(tmp_path, ["sep=;", "a;b,c;y", *(f"{i};{i % 3};{i % 2}" for i in range(40))])
    table = delimited.read(str(path), "data.path", None, "auto", "utf-8")
    assert table.names == ["a", "b,c", "y"]
    assert "line 3" in table.describe_cell(0, 0)


def test_an_unclosed_quote_is_reported_with_its_position(tmp_path: Path) -> None:
    path = write(tmp_path, ["a,note,y", *(f"{i},{'' if i != 3 else chr(34)}text {i % 4},{i % 2}" for i in range(40))])
    assert "line 5 cannot be read as CSV: unclosed quotation mark" in problem(path)
    path = write(tmp_path, ["a,note,y", *(f'{i},"text {i % 4}"{"x" * (i == 3)},{i % 2}' for i in range(40))])
    assert "line 5 cannot be read as CSV" in problem(path)


def test_very_long_cell_is_read_and_truncated_in_errors(tmp_path: Path) -> None:
    path = write(tmp_path, ["a,note,y", f"0,{'x' * 140_000},1", *(f"{i},short,{i % 2}" for i in range(40))])
    assert load(path, drop_columns=["note"]).info.sizes["in_features"] == 1
    wide = write(tmp_path, ["a,y", f"{'x' * 140_000},1", *(f"{i},{i % 2}" for i in range(40))])
    assert len(problem(wide)) < 1000, "only the beginning is shown"
