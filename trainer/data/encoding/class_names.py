"""Class names of the label texts of a table: spellings of one class."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from trainer.data.readers.cell_parsing import CellFormat


def map_class_names(texts: Collection[str], cell_format: CellFormat) -> dict[str, str]:
    """Return the class of each label text.

    Where all labels are plain numbers, spellings of the same integer are one class, named by the shortest: a missing
    value elsewhere in the column makes pandas write 1.0 for 1. 01 for 1, 1_0 for 10 and 1.10 for 1.1 are not written by
    any program, so they are distinct labels. Among texts ``yes.`` equals ``yes`` where both occur (a test file may end
    its labels with a dot).

    Args:
        texts: Distinct label texts.
        cell_format: Format of the cells.
    """
    numbers = {text: value for text in texts if (value := cell_format.canonicalize_number(text)) is not None}
    if len(numbers) == len(texts):
        shortest = {value: text for text, value in sorted(numbers.items(), key=lambda pair: -len(pair[0]))}
        return {text: shortest[value] if value % 1 == 0 else text for text, value in numbers.items()}
    return {text: text[:-1] if text.endswith(".") and text[:-1] in texts else text for text in texts}


def index_classes(classes: Sequence[str], cells: Sequence[str], cell_format: CellFormat) -> np.ndarray:
    """Return the index (N,) into ``classes`` of each cell by the rule of ``map_class_names``; -1 for unknown classes.

    A number whose spelling is not a class maps to the class of equal value, if unique.

    Args:
        classes: Class names.
        cells: Cells of the target column.
        cell_format: Format of the cells.
    """
    values = [cell_format.canonicalize_number(name) for name in classes]
    index_by_name = {name: index for index, name in enumerate(classes)}

    def find(text: str) -> int:
        if None not in values and text not in index_by_name:
            value = cell_format.canonicalize_number(text)
            return values.index(value) if values.count(value) == 1 else -1
        spellings = (text, text.removesuffix("."), f"{text}.")
        return next((index_by_name[spelling] for spelling in spellings if spelling in index_by_name), -1)

    texts = cell_format.parse_texts(cells)
    index_by_text = {text: find(text) if text else -1 for text in set(texts)}
    return np.array([index_by_text[text] for text in texts], dtype=np.int64)
