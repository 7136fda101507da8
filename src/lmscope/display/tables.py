"""Table: rows of plain values for Markdown, notebooks and the terminal."""

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Literal

from lmscope.core.errors import DataError
from lmscope.display.visible import visible

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Cell = str | int | float | bool | None
Alignment = Literal["left", "center", "right"]
_RULE: dict[Alignment, str] = {"left": ":---", "center": ":---:", "right": "---:"}


@dataclass(frozen=True)
class Table:
    """Rows of plain values under named columns.

    Attributes:
        columns: Headings.
        rows: Values, one for each column. Floats are shown with four significant digits, whole
            numbers with thousands apart, None and NaN as a dash.
        alignment: One for each column; by default numbers stand right and text left.
        caption: A line about the whole.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    alignment: tuple[Alignment, ...] | None = None
    caption: str | None = None

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise DataError(
                    f"A table row has {len(row)} values for {len(self.columns)} columns: {row!r}."
                )
        if self.alignment is not None and len(self.alignment) != len(self.columns):
            raise DataError(
                f"A table has {len(self.alignment)} alignments for {len(self.columns)} columns."
            )

    def to_markdown(self) -> str:
        """The table in Markdown, the caption as a line of its own below."""
        rule = [_RULE[alignment] for alignment in self._alignments()]
        lines = [[_markdown(name) for name in self.columns], rule]
        lines += [[_markdown(shown(value)) for value in row] for row in self.rows]
        text = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return f"{text}\n\n{_markdown(self.caption)}\n" if self.caption else f"{text}\n"

    def _repr_html_(self) -> str:
        """The table in HTML, all text escaped; notebooks call this."""
        head = "".join(
            _html_cell("th", name, alignment)
            for name, alignment in zip(self.columns, self._alignments(), strict=True)
        )
        body = "".join(f"<tr>{self._html_row(row)}</tr>" for row in self.rows)
        caption = f"<caption>{escape(visible(self.caption))}</caption>" if self.caption else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_rich(self) -> "RichTable":
        """The table for a rich console; brackets in cells are text, not markup."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable
        from rich.text import Text

        caption = Text(visible(self.caption)) if self.caption else None
        table = RichTable(box=SIMPLE_HEAD, caption=caption, caption_justify="left")
        for name, alignment in zip(self.columns, self._alignments(), strict=True):
            table.add_column(Text(visible(name)), justify=alignment)
        for row in self.rows:
            table.add_row(*(Text(visible(shown(value))) for value in row))
        return table

    def _html_row(self, row: tuple[Cell, ...]) -> str:
        return "".join(
            _html_cell("td", shown(value), alignment)
            for value, alignment in zip(row, self._alignments(), strict=True)
        )

    def _alignments(self) -> tuple[Alignment, ...]:
        if self.alignment is not None:
            return self.alignment
        return tuple(
            "right" if _is_numeric([row[i] for row in self.rows]) else "left"
            for i in range(len(self.columns))
        )


def shown(value: Cell) -> str:
    """A cell as text."""
    match value:
        case None:
            return "—"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return _shown_float(value)
        case _:
            return value


def _shown_float(value: float) -> str:
    if math.isnan(value):
        return "—"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value and not 1e-4 <= abs(value) < 1e6:
        return f"{value:.3e}"
    digits = 3 if value == 0 else 3 - math.floor(math.log10(abs(value)))
    return f"{value:,.{min(max(digits, 0), 4)}f}"


def _is_numeric(values: list[Cell]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in known
    )


def _markdown(text: str) -> str:
    safe = escape(visible(text), quote=False)
    return safe.replace("\\", "\\\\").replace("|", "\\|")


def _html_cell(tag: str, text: str, alignment: Alignment) -> str:
    return f'<{tag} style="text-align:{alignment}">{escape(visible(text))}</{tag}>'
