"""Errors for unusable CSV tables: location, cause and remedy."""

from __future__ import annotations

import re
from pathlib import Path

from tests.helpers.small_tables import load, people, problem, write


def test_a_missing_file_is_reported_with_the_searched_paths(tmp_path: Path) -> None:
    write(tmp_path, people(), "people.csv")
    message = problem(tmp_path / "poeple.csv")
    assert f"{tmp_path}/poeple.csv does not exist" in message
    assert "did you mean people.csv?" in message
    assert problem(tmp_path / "gone/x.csv").endswith(f"the nearest directory that exists is {tmp_path}")


def test_files_without_a_table_raise(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    assert "is not a table of text but a PNG image" in problem(tmp_path / "p.csv")
    (tmp_path / "b.csv").write_bytes(b"1,2\n\0\0\0")
    assert "but binary" in problem(tmp_path / "b.csv")
    (tmp_path / "l.csv").write_bytes("größe,y\n1,2\n".encode("latin-1"))
    assert "is not utf-8 text at line 1; older files are often data.encoding=latin-1" in problem(tmp_path / "l.csv")
    assert "is empty" in problem(write(tmp_path, []))
    assert "has a header but no rows" in problem(write(tmp_path, ["a,y"]), header=True)
    assert "is a folder" in problem(tmp_path)


def test_inconsistent_tables_raise(tmp_path: Path) -> None:
    lines = people()
    lines[6] += ",more"
    assert "line 7 has 4 cells, the first has 3" in problem(write(tmp_path, lines))
    assert "2 columns are named 'a' (columns 0 and 1, counted from 0)" in problem(write(tmp_path, ["a,a,y", "1,2,3"]))
    assert "cannot be read as CSV" in problem(write(tmp_path, ["a,y", '1,"2', "3,4"]))


def test_missing_target_or_wrong_target_kind_raises(tmp_path: Path) -> None:
    path = write(tmp_path, people())
    assert "no column 'colur' in" in (message := problem(path, "colur"))
    assert "did you mean colour? (columns: size, colour, y)" in message
    assert "no column 3" in problem(path, 3)
    assert "use task=classification for classes" in problem(path, target_kind="number")
    assert "40 distinct numbers in 40 rows, such as 0: use task=regression" in problem(path, "size")
    assert re.search(r"class '[\d.]+' has no training row", problem(path, "size", target_kind="class"))
    assert "target_kind: the task accepts classes and numbers; set it to class or number" in problem(
        path, task_target=None
    )


def test_uninformative_columns_raise(tmp_path: Path) -> None:
    single_class = write(tmp_path, [re.sub(r"yes|no", "same", line) for line in people()])
    assert "only one class, 'same'" in problem(single_class)
    names = write(tmp_path, ["id,a,y", *(f"person {i},{i % 5},{i % 2}" for i in range(30))])
    assert "texts in 'id' rarely repeat" in (message := problem(names))
    assert "data.drop_columns=[id]" in message
    assert load(names, drop_columns=["id"]).info.sizes["in_features"] == 1
    index = write(tmp_path, [",a,y", *(f"{i},{i % 5},{i % 2}" for i in range(30))])
    assert "is unnamed and holds row numbers; data.drop_columns=[0]" in problem(index)
    empty = write(tmp_path, ["a,b,y", *(f"{i % 5},?,{i % 2}" for i in range(30))])
    assert "column 'b' is empty; data.drop_columns=[b]" in problem(empty)
    assert "no feature columns left" in problem(empty, drop_columns=["a", "b"])
