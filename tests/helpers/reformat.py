"""Equivalent YAML texts in the styles of other tools and authors."""

from __future__ import annotations

import re
from collections.abc import Callable

import yaml

LICENSE = f"""\
# Copyright 2031 Somebody. All rights reserved.
# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0

# {"Unless required by applicable law or agreed to in writing, software distributed under the License is distributed "}
# {"on an AS IS basis, without warranties or conditions of any kind. " * 8}

"""
"""License notice in several paragraphs, longer than the 512 characters in which Hydra looks for a header."""


def _split_header(text: str, notice: str = LICENSE) -> tuple[str, str]:
    """Return the header of a text below a license notice, and the text without header."""
    header, _, body = text.partition("\n")
    return (f"{notice}{header}\n", body) if header.startswith("# @package") else (notice, text)


def redump(text: str) -> str:
    """Rewrite with four spaces of indentation, short lines, blank lines and a license, without comments."""
    header, body = _split_header(text)
    node = yaml.compose(body, Loader=yaml.SafeLoader)
    if node is None:  # nothing but comments
        return header
    dumped = yaml.serialize(node, Dumper=yaml.SafeDumper, indent=4, width=60)
    return f"\n{header}\n---\n\n" + dumped.replace("\n", "\n\n")


def rewrite_by_hand(text: str) -> str:
    """Rewrite with double indentation, quoted keys, trailing blanks, CRLF and a license; comments stay."""
    header, body = _split_header(text)
    lines = [re.sub(r"^ *(?=\S)", lambda m: 2 * m.group(), line) for line in body.splitlines()]
    lines = [re.sub(r"^( *)(\w+):", r'\1"\2":', line) for line in lines]
    return "".join(f"{line}  \r\n" for line in [*header.splitlines(), *lines])


def flow(text: str) -> str:
    """Rewrite in flow style with minimal quoting and without comments."""

    def close(node: yaml.Node) -> None:
        if not isinstance(node, yaml.ScalarNode):
            node.flow_style = True
            for item in node.value:
                for part in item if isinstance(item, tuple) else (item,):
                    close(part)

    header, body = _split_header(text, "# @author someone\n# A line.\n\n#\n")
    node = yaml.compose(body, Loader=yaml.SafeLoader)
    if node is None:
        return header
    close(node)
    return header + yaml.serialize(node, Dumper=yaml.SafeDumper, width=90)


STYLES: dict[str, Callable[[str], str]] = {"redumped": redump, "by hand": rewrite_by_hand, "flow": flow}
