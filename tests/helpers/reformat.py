"""YAML texts that mean the same: as other tools and other hands would write them."""

from __future__ import annotations

import re
from collections.abc import Callable

import yaml

LICENSE = "# Copyright 2031 Somebody. All rights reserved.\n# SPDX-License-Identifier: MIT\n"


def _split_header(text: str) -> tuple[str, str]:
    header, _, body = text.partition("\n")
    return (f"{header}\n", body) if header.startswith("# @package") else ("", text)


def redump(text: str) -> str:
    """Four spaces of indentation, short lines, no comment of the author's, blank lines, a license on top."""
    header, body = _split_header(text)
    node = yaml.compose(body, Loader=yaml.SafeLoader)
    if node is None:  # nothing but comments
        return f"{header}{LICENSE}"
    dumped = yaml.serialize(node, Dumper=yaml.SafeDumper, indent=4, width=60)
    return f"\n{header}{LICENSE}\n---\n\n" + dumped.replace("\n", "\n\n")


def rewrite_by_hand(text: str) -> str:
    """Twice the indentation, keys in quotes, blanks behind the lines, lines of Windows, a license; comments stay."""
    header, body = _split_header(text)
    lines = [re.sub(r"^ *(?=\S)", lambda m: 2 * m.group(), line) for line in body.splitlines()]
    lines = [re.sub(r"^( *)(\w+):", r'\1"\2":', line) for line in lines]
    return "".join(f"{line}  \r\n" for line in [*header.split("\n")[:-1], *LICENSE.splitlines(), "", *lines])


def flow(text: str) -> str:
    """Everything in one pair of braces, nothing in quotes that need not be, no comment."""

    def close(node: yaml.Node) -> None:
        if not isinstance(node, yaml.ScalarNode):
            node.flow_style = True
            for item in node.value:
                for part in item if isinstance(item, tuple) else (item,):
                    close(part)

    header, body = _split_header(text)
    node = yaml.compose(body, Loader=yaml.SafeLoader)
    if node is None:
        return f"{header}# A line.\n"
    close(node)
    return f"# @author someone\n{header}# A line.\n" + yaml.serialize(node, Dumper=yaml.SafeDumper, width=90)


STYLES: dict[str, Callable[[str], str]] = {"redumped": redump, "by hand": rewrite_by_hand, "flow": flow}
