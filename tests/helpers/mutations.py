"""Random mutations of inputs: typos, corruption and foreign contents."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

WORDS = [
    *("", "null", "~", "true", "[]", "{}", "???", "0", "-1", "1", "2", "0.5", "1e-3", "1e400", "-inf", "nan", "1_000"),
    *("18446744073709551616", "9" * 400, "0x10", "01", "1,2", "range(0,0)", "range(3)", "interval(0,1)", "glob(*)"),
    *(
        "sort(3,1)",
        "int(a)",
        "str(1)",
        "choice(1,2)",
        "tag(a,1)",
        "extend_list(1)",
        "a b",
        "'a b'",
        "'",
        '"',
        "\\",
        "\\\\",
    ),
    *(
        "${epochs}",
        "${oc.env:HOME}",
        "${nope}",
        "${",
        "}",
        "${.}",
        "${..epochs}",
        "${model}",
        "$x",
        "a:b",
        "a=b",
        "=",
        "@",
    ),
    *("[1", "1]", "[1,[2]]", "[[]]", "{a: 1}", "{a: {b: [1]}}", "{_target_: os.system}", "a" * 300, "ä", "हिन्दी", "😀"),
    *(
        "\x1b[31mred",
        "a\nb",
        "\t",
        "\x7f",
        "\u202eabc",
        "/",
        "/dev/null",
        "..",
        ".",
        "/nope/x.csv",
        "~nobody",
        "-",
        "--",
        "-m",
    ),
    *(
        "lstm",
        "mlp",
        "moons",
        "auto",
        "default",
        "adam",
        "cpu",
        "cuda:1",
        "bf16",
        "fp16",
        "onecycle",
        "regression",
        "vae",
    ),
]


KEYS: list[Any] = [1, 1.5, True, None, "", "@", "/", "defaults", "_target_", "hydra", "override /model", "a.b", "a b"]
VALUES: list[Any] = [0, -1, 1.5, True, None, "", [], {}, [None], [[1]], {"a": 1}, {1: 2}, "???", "${nope}", "${epochs}"]
VALUES += [datetime.date(2020, 1, 1), float("nan"), float("inf"), b"bytes", 2**70, "_self_", ["_self_", "_self_"]]


def word(rng: random.Random) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        return str(
            rng.choice([rng.randrange(-5, 100), rng.random(), rng.uniform(-1e3, 1e3), 10 ** rng.randrange(-30, 30)])
        )
    if kind == 1:
        return "".join(rng.choice(" abz019.,:;=[]{}()$'\"\\/~+@#-_\té") for _ in range(rng.randrange(1, 12)))
    if kind == 2:
        return f"[{','.join(rng.choice(WORDS) for _ in range(rng.randrange(4)))}]"
    return rng.choice(WORDS)


def slip(rng: random.Random, text: str) -> str:
    """Insert, drop, double or exchange a letter of a text."""
    if not text:
        return word(rng)
    at = rng.randrange(len(text))
    other = rng.choice("abz019.=,[]{}$'\"\\ -_:#\n\x1b")
    return rng.choice(
        [
            text[:at] + text[at + 1 :],
            text[:at] + other + text[at:],
            text[:at] + other + text[at + 1 :],
            text[:at] + text[at] + text[at:],
        ]
    )


def override(rng: random.Random, keys: list[str]) -> str:
    """Return an override with an invalid value or an unknown key."""
    key = rng.choice(keys)
    if rng.random() < 0.15:
        key = slip(rng, key)
    if rng.random() < 0.05:
        key = rng.choice(["+", "++", "~", "hydra.", "hydra/", "@"]) + key
    text = f"{key}={word(rng)}"
    return slip(rng, text) if rng.random() < 0.15 else text


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Corrupt bytes as a disk or an editor may."""
    at, other = rng.randrange(len(data) + 1), rng.randrange(len(data) + 1)
    changes: list[Callable[[], bytes]] = [
        lambda: data[:at],
        lambda: data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
        lambda: data[:at] + rng.randbytes(rng.randrange(1, 20)) + data[at:],
        lambda: data[: min(at, other)] + data[max(at, other) :],
        lambda: data + data[min(at, other) : max(at, other)],
        lambda: b"",
        lambda: rng.choice([b"\xff\xfe", b"\xef\xbb\xbf", b"\0" * 10, b"\x1f\x8b", b"PK\x03\x04"]) + data,
    ]
    return rng.choice(changes)()


def mutate_lines(rng: random.Random, text: str) -> str:
    """Drop, double, exchange or change lines of a text."""
    lines = text.split("\n")
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(lines))
        lines[at] = rng.choice(
            [
                slip(rng, lines[at]),
                lines[at].partition(":")[0] + ": " + word(rng),
                lines[at] + " " + word(rng),
                " " * rng.randrange(4) + lines[at].lstrip(),
                rng.choice(lines),
                word(rng),
                "",
            ]
        )
    return "\n".join(lines)


def mutate_table(rng: random.Random, text: str) -> str:
    """Exchange cells, columns or separators of a table."""
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(rng.randrange(1, 5)):
        row = rng.choice(rows)
        match rng.randrange(5):
            case 0 if row:
                row[rng.randrange(len(row))] = word(rng)
            case 1:
                row.append(word(rng))
            case 2 if row:
                row.pop(rng.randrange(len(row)))
            case 3:
                at, given = rng.randrange(4), word(rng)
                for other in rows[rng.randrange(2) :]:
                    if at < len(other):
                        other[at] = given
            case _:
                rows.insert(rng.randrange(len(rows)), [word(rng)])
    return "\n".join(
        rng.choice([",", ",", ",", ";"]).join(row) if rng.random() < 0.02 else ",".join(row) for row in rows
    )


def mutate_tree(rng: random.Random, text: str) -> str:
    """Change the type of a value or a key in a YAML text; return other text unchanged."""
    header = [line for line in text.splitlines() if line.startswith("# @package")]
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return text
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, child in children:
            places.append((node, key))
            collect(child)

    collect(tree)
    if not places:
        return text
    node, key = rng.choice(places)
    if isinstance(node, dict) and rng.random() < 0.3:
        node[rng.choice(KEYS)] = node.pop(key)
    else:
        node[key] = rng.choice([*VALUES, [node[key]], {"a": node[key]}, word(rng)])
    return "\n".join([*header, yaml.safe_dump(tree, sort_keys=False)])


def mutate_file(rng: random.Random, path: Path) -> None:
    """Corrupt a file in place: its bytes, its lines or its type."""
    kind = rng.randrange(8)
    if kind == 0:
        path.unlink()
    elif kind == 1:
        path.unlink()
        path.mkdir()
    elif kind < 4 and path.suffix == ".yaml":
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        path.write_text(mutate_tree(rng, text), encoding="utf-8", errors="surrogateescape")
    elif kind < 5 and path.suffix in (".yaml", ".json", ".csv", ".txt"):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        path.write_text(mutate_lines(rng, text), encoding="utf-8", errors="surrogateescape")
    else:
        path.write_bytes(mutate_bytes(rng, path.read_bytes()))
