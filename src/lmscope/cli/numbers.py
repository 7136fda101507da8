"""Numbers as people write them (`2M`, `500k`, `1.5B`) and as people read them."""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

from cyclopts import Parameter, Token

_SCALES: Final = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}
_COUNT: Final = re.compile(
    r"(?P<number>\d[\d_]*(?:\.\d+)?(?:e\d{1,2})?)(?P<scale>[kmbgt]?)", re.IGNORECASE | re.ASCII
)
_BYTES: Final = re.compile(
    r"(?P<number>\d+(?:\.\d+)?) ?(?:(?P<scale>[kmgt])(?P<binary>i?)b|b)?", re.IGNORECASE | re.ASCII
)


def parse_count(text: str) -> int:
    """A whole number of at least 1 from `4608`, `2_000_000`, `500k`, `2M`, `1.5B` or `2e6`.

    Raises:
        ValueError: The text is no such number; the message says how to write one.
    """
    match = _COUNT.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is not a count; write it like 4608, 500k, 2M or 1.5B.")
    exact = Decimal(match["number"].replace("_", "")) * _SCALES[match["scale"].lower()]
    if exact != int(exact) or exact < 1:
        raise ValueError(f"'{text}' is not a whole number of at least 1.")
    return int(exact)


def parse_bytes(text: str) -> int:
    """Bytes from `20GiB` (binary), `80GB` (decimal) or a plain number of bytes.

    Raises:
        ValueError: The text is no such amount; the message says how to write one.
    """
    match = _BYTES.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"'{text}' is no amount of memory; write it like 20GiB, 800MiB or 80GB.")
    unit = 1024 if match["binary"] else 1000
    n_bytes = Decimal(match["number"]) * unit ** " kmgt".index((match["scale"] or " ").lower())
    if n_bytes < 1:
        raise ValueError(f"'{text}' is not at least one byte.")
    return int(n_bytes)


def format_count(value: int | float) -> str:
    """About three digits of a count: `999`, `4.61k`, `2M`, `1.5B`."""
    scaled, suffixes = float(value), iter(("", "k", "M", "B", "T"))
    suffix = next(suffixes)
    while abs(scaled) >= 999.5 and suffix != "T":
        scaled, suffix = scaled / 1000, next(suffixes)
    if scaled == int(scaled) or abs(scaled) >= 99.95:
        return f"{scaled:.0f}{suffix}"
    text = f"{scaled:.{2 if abs(scaled) < 9.995 else 1}f}"
    return text.rstrip("0").rstrip(".") + suffix


def format_bytes(n_bytes: int) -> str:
    """Bytes in binary units: `512 B`, `1.5 GiB`."""
    if n_bytes < 1024:
        return f"{n_bytes} B"
    scaled, units = n_bytes / 1024, iter(("KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    while scaled >= 1024 and unit != "TiB":
        scaled, unit = scaled / 1024, next(units)
    return f"{scaled:.1f} {unit}"


def format_seconds(seconds: int | float) -> str:
    """A duration: `4.2 s`, `3 min 05 s`, `2 h 10 min`."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def _read(asked: Any, tokens: Sequence[Token]) -> int | tuple[int, ...]:
    counts = tuple(parse_count(token.value) for token in tokens)
    return counts[0] if asked is int else counts


Count = Annotated[int, Parameter(converter=_read, metavar="N")]
"""An option that holds one count."""
Counts = Annotated[tuple[int, ...], Parameter(converter=_read, metavar="N")]
"""An option that may be repeated, each time with one count."""


def _read_bytes(_asked: Any, tokens: Sequence[Token]) -> int:
    return parse_bytes(tokens[0].value)


Bytes = Annotated[int, Parameter(converter=_read_bytes, metavar="SIZE")]
"""An option that holds an amount of memory."""
