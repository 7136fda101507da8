"""Pictures of plain values as PNG or SVG, chosen by the file's suffix.

Colours are those of Okabe and Ito, which tell apart with any common colour blindness. A picture
holds no time, so equal values give equal files.
"""

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from lmscope.core.errors import DataError, LmscopeError, did_you_mean
from lmscope.core.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Numbers = Sequence[float | int] | np.ndarray
"""Numbers in order."""
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
_DASHES: Final = ("-", "--", ":", "-.")
_GREY: Final = "#666666"
_FORMATS: Final = ("png", "svg")
_WIDTH_IN, _HEIGHT_IN, _DPI = 7.0, 4.2, 150


def line_plot(
    path: Path | str,
    series: Mapping[str, tuple[Numbers, Numbers]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    log_y: bool = False,
    log_x: bool = False,
) -> None:
    """Draw lines over a common x axis.

    Args:
        path: A .png or .svg file; replaced when it exists.
        series: The xs and ys of each line, by its name in the legend; NaN leaves a gap.
        title: What the picture shows.
        x_label: Name and unit of x.
        y_label: Name and unit of y.
        log_y: Logarithmic y; points at or below zero are left out.
        log_x: Logarithmic x to base 2; likewise.

    Raises:
        DataError: Nothing to draw, unequal lengths, or another suffix.
        ArtifactError: The file cannot be written.
        LmscopeError: matplotlib is not installed.
    """
    _check_series(series, log_y=log_y)
    figure, axes = _canvas(title, x_label, y_label)
    for i, (name, (xs, ys)) in enumerate(series.items()):
        dash = _DASHES[i // len(COLOURS) % len(_DASHES)]
        colour = COLOURS[i % len(COLOURS)]
        marker = "o" if len(xs) == 1 else ""
        axes.plot(xs, ys, label=_plain(name), color=colour, linestyle=dash, marker=marker, lw=1.8)
    if log_y:
        axes.set_yscale("log", nonpositive="mask")
    if log_x:
        axes.set_xscale("log", base=2, nonpositive="mask")
    if len(series) > 1:
        axes.legend(frameon=False, fontsize=9)
    _save(figure, path)


def histogram_plot(
    path: Path | str,
    values: Numbers,
    *,
    title: str,
    x_label: str,
    y_label: str = "count",
    bins: int | Numbers = 50,
    log_y: bool = False,
) -> None:
    """Draw how often values occur.

    Args:
        path: A .png or .svg file; replaced when it exists.
        values: Finite numbers.
        title: What the picture shows.
        x_label: Name and unit of the values.
        y_label: What is counted.
        bins: How many equal bins, or their edges.
        log_y: Logarithmic counts.

    Raises:
        DataError: No values, one that is not finite, or another suffix.
        ArtifactError: The file cannot be written.
        LmscopeError: matplotlib is not installed.
    """
    numbers = np.asarray(values, dtype=float)
    if numbers.size == 0 or not np.isfinite(numbers).all():
        raise DataError(f"The histogram '{title}' needs finite values, at least one.")
    figure, axes = _canvas(title, x_label, y_label)
    edges = bins if isinstance(bins, int) else list(bins)
    axes.hist(numbers, bins=edges, color=COLOURS[0], edgecolor="white", lw=0.4, log=log_y)
    _save(figure, path)


def bar_plot(
    path: Path | str,
    bars: Mapping[str, float | int],
    *,
    title: str,
    x_label: str,
    intervals: Mapping[str, tuple[float | int, float | int]] | None = None,
) -> None:
    """Draw one horizontal bar a value, the first on top, each with its number.

    Args:
        path: A .png or .svg file; replaced when it exists.
        bars: Finite lengths by name.
        title: What the picture shows.
        x_label: Name and unit of the lengths.
        intervals: Low and high end of an interval, for some or all of the bars.

    Raises:
        DataError: No bars, a length that is not finite, an interval of no bar, or another suffix.
        ArtifactError: The file cannot be written.
        LmscopeError: matplotlib is not installed.
    """
    intervals = intervals or {}
    if not bars or not np.isfinite(list(bars.values())).all():
        raise DataError(f"The bar plot '{title}' needs finite lengths, at least one.")
    for name in intervals:
        if name not in bars:
            raise DataError(
                f"The bar plot '{title}' has no bar '{name}'.{did_you_mean(name, bars)}"
            )
    figure, axes = _canvas(title, x_label, "", height_in=1.4 + 0.42 * len(bars))
    axes.barh([_plain(name) for name in bars], list(bars.values()), color=COLOURS[0], height=0.62)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    for i, (name, length) in enumerate(bars.items()):
        low, high = intervals.get(name, (length, length))
        if name in intervals:
            axes.plot([low, high], [i, i], color="black", lw=1.4, solid_capstyle="butt")
        axes.annotate(
            f"{length:.3g}",
            (max(high, length, 0.0), i),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.margins(x=0.12)
    _save(figure, path)


def _check_series(series: Mapping[str, tuple[Numbers, Numbers]], *, log_y: bool) -> None:
    for name, (xs, ys) in series.items():
        if len(xs) != len(ys):
            raise DataError(f"The line '{name}' has {len(xs)} xs and {len(ys)} ys.")
    ys = [float(y) for _, line in series.values() for y in line]
    if not any(y == y and (y > 0 or not log_y) for y in ys):
        where = " above zero, which a logarithmic axis needs" if log_y else ""
        raise DataError(f"There is nothing to draw: no line has a point{where}.")


def _canvas(
    title: str, x_label: str, y_label: str, height_in: float = _HEIGHT_IN
) -> "tuple[Figure, Axes]":
    figure = _matplotlib("figure").Figure(
        figsize=(_WIDTH_IN, height_in), dpi=_DPI, layout="constrained"
    )
    axes = figure.add_subplot()
    axes.set_title(_plain(title), loc="left", fontsize=12, fontweight="bold")
    axes.set_xlabel(_plain(x_label))
    axes.set_ylabel(_plain(y_label))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(visible=True, color="#E6E6E6", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_GREY, labelcolor="#222222", labelsize=9)
    return figure, axes


def _save(figure: "Figure", path: Path | str) -> None:
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in _FORMATS:
        raise DataError(f"'{path}' cannot be drawn: name it .png or .svg.")
    nothing = {"Software": None} if kind == "png" else {"Date": None, "Creator": None}
    # Fixed ids in SVG, and text as text, so that a reader can search it.
    settings = {"svg.hashsalt": "lmscope", "svg.fonttype": "none"}
    with _matplotlib().rc_context(settings), atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=nothing)


def _plain(text: str) -> str:
    """Text without formulas: matplotlib reads what stands between dollars as TeX."""
    return text.replace("$", r"\$")


def _matplotlib(module: str = "") -> Any:
    name = f"matplotlib.{module}" if module else "matplotlib"
    try:
        return import_module(name)
    except ImportError:
        raise LmscopeError(
            'Drawing needs matplotlib, which is not installed: pip install "lmscope[plots]".'
        ) from None
