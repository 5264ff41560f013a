"""Files of test items that are series, nodes, graphs, links or triples, written in any order; see ``item_files``."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from tests.helpers.item_files import PARTS, TestItems, draw_parts, write_lines, write_rows
from tests.helpers.real_data import FOLDER

HISTORY, HORIZON, STEPS = 24, 6, 400


def make_series(folder: Path, names: Sequence[str]) -> TestItems:
    """Write hourly series; the input has the last rows, and the order of its items is that of the columns."""
    hours = pd.date_range("2021-03-01", periods=STEPS, freq="h").strftime("%Y-%m-%d %H:%M")
    steps, noise = np.arange(STEPS), np.random.default_rng(6).normal(size=(STEPS, 2))
    frame = pd.DataFrame({"time": hours})
    for place, name in enumerate(names):
        wave = np.sin(2 * np.pi * steps / 24 + place) + 0.3 * noise[:, place]
        frame[name] = (10.0 ** (2 * place) * (5 + wave)).round(3)
    folder.mkdir(parents=True, exist_ok=True)
    frame.to_csv(folder / "series.csv", index=False)
    moments = frame[list(names)].iloc[: round(0.6 * STEPS)].agg(["mean", lambda column: column.std(ddof=0)]).to_numpy()
    known = frame.set_index("time")
    truth = [(known[name], moments[:, k] if len(names) > 1 else None) for k, name in enumerate(names)]

    def write(path: Path, order: Sequence[int]) -> Path:
        path.mkdir(parents=True)
        frame[["time", *(names[i] for i in order)]].iloc[round(0.8 * STEPS) - HISTORY :].to_csv(
            path / "series.csv", index=False
        )
        return path / "series.csv"

    keys = (f"data.path={folder / 'series.csv'}", "data.time=time", f"data.history={HISTORY}")
    return TestItems((*keys, f"data.horizon={HORIZON}"), truth, write, has_row_per_item=False)


def make_waves(folder: Path) -> TestItems:
    """Write rising and falling series of unequal length in the format of the UCR archive."""
    draw, items, truth = np.random.default_rng(7), list[str](), list[str]()
    for part, name in (("TRAIN", "train"), ("TEST", "test")):
        lines = ["@problemName WAVES", "@classLabel true down up", "@data"]
        for row in range(PARTS[name]):
            kind = ("down", "up")[row % 2]
            steps = np.arange(draw.integers(6, 20)) * (0.1 if row % 2 else -0.1) + draw.normal(size=1)
            values = ",".join(f"{step:.4f}" for step in steps + 0.3 * draw.normal(size=len(steps)))
            lines.append(f"{values}:{kind}")
            if part == "TEST":
                items.append(values)
                truth.append(kind)
        write_lines(folder / f"ucr/WAVES/WAVES_{part}.ts", lines)

    def write(path: Path, order: Sequence[int]) -> Path:
        return write_lines(path / "rows.ts", ["@problemName ROWS", "@data", *(items[i] for i in order)])

    return TestItems((f"data_dir={folder}", "data.name=WAVES"), truth, write)


def make_vowels(folder: Path) -> TestItems:
    """Copy the JapaneseVowels data set, whose series have twelve channels and 7 to 29 steps."""
    source = FOLDER / "ucr" / "JapaneseVowels"
    shutil.copytree(source, folder / "ucr" / "JapaneseVowels")
    lines = (source / "JapaneseVowels_TEST.ts").read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.strip().lower() == "@data") + 1
    items = [line.rpartition(":") for line in lines[start:] if line.strip()]

    def write(path: Path, order: Sequence[int]) -> Path:
        header = ["@problemName ROWS", "@univariate false", "@dimensions 12", "@data"]
        return write_lines(path / "rows.ts", [*header, *(items[i][0] for i in order)])

    return TestItems((f"data_dir={folder}", "data.name=JapaneseVowels"), [item[2] for item in items], write)


def make_region_tables(folder: Path) -> TestItems:
    """Write tables of five regions over time by class."""
    draw, items, truth = np.random.default_rng(8), list[np.ndarray](), list[str]()
    for part, count in PARTS.items():
        for number in range(count):
            kind = ("calm", "wild")[number % 2]
            values = draw.normal(size=(draw.integers(6, 14), 5))
            values[:, 1] += (1 if number % 2 else -1) * values[:, 0]
            (folder / "tables" / part / kind).mkdir(parents=True, exist_ok=True)
            np.save(folder / "tables" / part / kind / f"{number}.npy", values)
            if part == "test":
                items.append(values)
                truth.append(kind)

    def write(path: Path, order: Sequence[int]) -> Path:
        (path / "tables").mkdir(parents=True)
        for number, i in enumerate(order):
            np.save(path / "tables" / f"{number:04d}.npy", items[i])
        return path / "tables"

    return TestItems((f"data.path={folder / 'tables'}",), truth, write)


def make_nodes(folder: Path, target: str) -> TestItems:
    """Write the nodes of one graph with weighted links, most of them within a class."""
    draw, parts = random.Random(9), draw_parts()
    kinds = [draw.choice(("a", "b", "c")) for _ in parts]
    rows = [
        (f"n{k}", f"{draw.gauss('abc'.index(kind), 1.5):.4f}", draw.choice("xyz"), kind, part)
        for k, (kind, part) in enumerate(zip(kinds, parts, strict=True))
    ]
    ends = {tuple(sorted(draw.sample(range(len(rows)), 2))) for _ in range(1500)}
    links = [(i, j) for i, j in sorted(ends) if kinds[i] == kinds[j] or draw.random() < 0.2]
    edges = [(f"n{i}", f"n{j}", f"{draw.uniform(0.5, 2):.4f}") for i, j in links]
    titles = ("id", "size", "color", "label", "split")
    write_rows(folder / "graph/nodes.csv", titles, rows)
    write_rows(folder / "graph/edges.csv", ("source", "target", "weight"), edges)
    column = titles.index(target)
    inputs = [k for k in range(4) if k not in (column, 3)]

    def write(path: Path, order: Sequence[int]) -> Path:
        write_rows(path / "nodes.csv", [titles[k] for k in inputs], ([rows[i][k] for k in inputs] for i in order))
        shuffled = random.Random(len(order) + order[0]).sample(edges, len(edges))
        write_rows(path / "edges.csv", ("source", "target", "weight"), shuffled)
        return path

    values = [float(row[column]) if target == "size" else row[column] for row in rows]
    truth = [value if row[-1] == "test" else None for value, row in zip(values, rows, strict=True)]
    others = () if target == "label" else ("data.drop_columns=[label]",)
    return TestItems((f"data.path={folder / 'graph'}", f"data.target={target}", *others), truth, write)


def make_graphs(folder: Path) -> TestItems:
    """Write small rings and stars in tables."""
    draw, parts = random.Random(10), draw_parts()
    nodes, edges, truth = list[list[tuple[str, ...]]](), list[list[tuple[str, ...]]](), list[str]()
    for graph in range(len(parts)):
        names = [f"g{graph}n{k}" for k in range(draw.randint(4, 8))]
        nodes.append([(name, f"g{graph}", f"{draw.random():.4f}", draw.choice("rgb")) for name in names])
        ends = [(names[k - 1] if graph % 2 else names[0], name) for k, name in enumerate(names) if graph % 2 or k]
        edges.append([(one, other, f"{draw.random():.4f}") for one, other in ends])
        truth.append(("star", "ring")[graph % 2])
    titles, edge_titles = ("id", "graph", "size", "color"), ("source", "target", "weight")

    def write_graphs(path: Path, order: Sequence[int]) -> Path:
        write_rows(path / "nodes.csv", titles, (row for i in order for row in nodes[i]))
        write_rows(path / "edges.csv", edge_titles, (row for i in order for row in edges[i]))
        return path

    rows = [(f"g{graph}", truth[graph], part) for graph, part in enumerate(parts)]
    write_rows(write_graphs(folder / "graphs", range(len(parts))) / "graphs.csv", ("graph", "label", "split"), rows)
    tests = [graph for graph, part in enumerate(parts) if part == "test"]
    return TestItems(
        (f"data.path={folder / 'graphs'}", "data.target=label"),
        [truth[graph] for graph in tests],
        lambda path, order: write_graphs(path, [tests[i] for i in order]),
    )


def make_collection(folder: Path) -> TestItems:
    """Write rings, and rings with a chord, in the format of TUDataset."""
    draw, count = random.Random(11), 80
    sizes = [draw.randint(4, 8) for _ in range(count)]
    labels = [[draw.randrange(3) for _ in range(size)] for size in sizes]

    def write_graphs(path: Path, order: Sequence[int]) -> list[str]:
        first, lines, graph_of_node, node_labels = 1, list[str](), list[int](), list[int]()
        for number, i in enumerate(order, 1):
            ends = [(k, (k + 1) % sizes[i]) for k in range(sizes[i])] + [(0, 2)] * (i % 2)
            lines += [f"{first + a}, {first + b}" for one, other in ends for a, b in ((one, other), (other, one))]
            graph_of_node += [number] * sizes[i]
            node_labels += labels[i]
            first += sizes[i]
        write_lines(path / "RINGS_A.txt", lines)
        write_lines(path / "RINGS_graph_indicator.txt", map(str, graph_of_node))
        write_lines(path / "RINGS_node_labels.txt", map(str, node_labels))
        return lines

    write_graphs(folder / "rings", range(count))
    write_lines(folder / "rings/RINGS_graph_labels.txt", (str(graph % 2) for graph in range(count)))

    def write(path: Path, order: Sequence[int]) -> Path:
        write_graphs(path, order)
        return path

    truth = [graph % 2 for graph in range(count)]
    return TestItems((f"data.path={folder / 'rings'}",), truth, write, lambda rows: [k - 1 for k in rows["graph"]])


def make_clicks(folder: Path) -> TestItems:
    """Write pairs of users and items with and without a click; a run draws its test rows."""
    draw = np.random.default_rng(12)
    users, items = draw.normal(size=(25, 2)), draw.normal(size=(20, 2))
    pairs = list(product(range(25), range(20)))
    clicks = [int(draw.random() < 1 / (1 + np.exp(-2 * users[u] @ items[i]))) for u, i in pairs]
    names = [(f"u{u}", f"i{i}") for u, i in pairs]
    rows = [(*name, click) for name, click in zip(names, clicks, strict=True)]
    write_rows(folder / "clicks.csv", ("user", "item", "click"), rows)
    place = {name: k for k, name in enumerate(names)}

    def find(frame: pd.DataFrame) -> list[int]:
        return [place[name] for name in zip(frame["user"], frame["item"], strict=True)]

    def write(path: Path, order: Sequence[int]) -> Path:
        return write_rows(path / "pairs.csv", ("user", "item"), (names[i] for i in order))

    return TestItems((f"data.path={folder / 'clicks.csv'}", "data.click=click"), clicks, write, find)


def make_triples(folder: Path) -> TestItems:
    """Write the triples of a clock, (h, +k, h + k), to three files."""
    triples = [f"h{h}\tplus{k}\th{(h + k) % 16}" for h, k in product(range(16), range(1, 16))]
    random.Random(13).shuffle(triples)
    for name, start, end in (("train", 0, 160), ("valid", 160, 190), ("test", 190, 240)):
        write_lines(folder / f"clock/{name}.txt", triples[start:end])
    items = triples[190:]

    def write(path: Path, order: Sequence[int]) -> Path:
        return write_lines(path / "triples.txt", (items[i] for i in order))

    return TestItems((f"data.path={folder / 'clock'}",), ["triple"] * len(items), write)
