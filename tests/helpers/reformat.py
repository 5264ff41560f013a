"""Equivalent YAML texts in the styles of other tools and authors."""

from __future__ import annotations

import re
from collections.abc import Callable

import yaml

LICENSE = "# Copyright 2031 Somebody. All rights reserved.\n# SPDX-License-Identifier: MIT\n"


def _split_header(text: str) -> tuple[str, str]:
    header, _, body = text.partition("\n")
    return (f"{header}\n", body) if header.startswith("# @package") else ("", text)


def redump(text: str) -> str:
    """Rewrite with four spaces of indentation, short lines, blank lines and a license, without comments."""
    header, body = _split_header(text)
    node = yaml.compose(body, Loader=yaml.SafeLoader)
    if node is None:  # nothing but comments
        return f"{header}{LICENSE}"
    dumped = yaml.serialize(node, Dumper=yaml.SafeDumper, indent=4, width=60)
    return f"\n{header}{LICENSE}\n---\n\n" + dumped.replace("\n", "\n\n")


def rewrite_by_hand(text: str) -> str:
    """Rewrite with double indentation, quoted keys, trailing blanks, CRLF and a license; comments stay."""
    header, body = _split_header(text)
    lines = [re.sub(r"^ *(?=\S)", lambda m: 2 * m.group(), line) for line in body.splitlines()]
    lines = [re.sub(r"^( *)(\w+):", r'\1"\2":', line) for line in lines]
    return "".join(f"{line}  \r\n" for line in [*header.split("\n")[:-1], *LICENSE.splitlines(), "", *lines])


def flow(text: str) -> str:
    """Rewrite in flow style with minimal quoting and without comments."""

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
