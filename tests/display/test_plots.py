import sys
import xml.etree.ElementTree as ET

import pytest

from lmscope.core.errors import ArtifactError, DataError, LmscopeError
from lmscope.display.plots import bar_plot, histogram_plot, line_plot

LABELS = {"title": "Loss of $x_$ & <b>", "x_label": "step"}


def line(path, series=None, **options):
    series = {"a": ([0, 1, 2], [3.0, float("nan"), 1.0])} if series is None else series
    line_plot(path, series, **LABELS, y_label="loss", **options)


@pytest.mark.parametrize("suffix", ["png", "svg"])
@pytest.mark.parametrize(
    "draw",
    [
        line,
        lambda p: line(p, {f"l{i}": ([0, 1], [1, i + 1]) for i in range(9)}, log_y=True),
        lambda p: histogram_plot(p, [1, 2, 2, 3], **LABELS, bins=4, log_y=True),
        lambda p: histogram_plot(p, [1, 2, 2, 3], **LABELS, bins=[0, 2, 4]),
        lambda p: bar_plot(p, {"a": 0.5, "b": -1.0}, **LABELS, intervals={"a": (0.4, 0.6)}),
    ],
)
def test_pictures_are_whole_and_equal_each_time(tmp_path, suffix, draw):
    first, second = tmp_path / f"1.{suffix}", tmp_path / f"2.{suffix}"
    draw(first)
    draw(second)
    assert first.read_bytes() == second.read_bytes()
    if suffix == "png":
        assert first.read_bytes().startswith(b"\x89PNG")
    else:
        assert "Loss of $x_$ & <b>" in "".join(ET.parse(first).getroot().itertext())
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda p: line(p / "a.pdf"), r"name it \.png or \.svg"),
        (lambda p: line(p / "a.png", {}), "nothing to draw"),
        (lambda p: line(p / "a.png", {"a": ([1], [0.0])}, log_y=True), "above zero"),
        (lambda p: line(p / "a.png", {"a": ([1, 2], [0.0])}), "2 xs and 1 ys"),
        (lambda p: histogram_plot(p / "a.png", [], **LABELS), "at least one"),
        (lambda p: histogram_plot(p / "a.png", [float("nan")], **LABELS), "finite"),
        (lambda p: bar_plot(p / "a.png", {}, **LABELS), "at least one"),
        (
            lambda p: bar_plot(p / "a.png", {"loss": 1}, **LABELS, intervals={"los": (0, 1)}),
            r"Did you mean loss\?",
        ),
    ],
)
def test_what_cannot_be_drawn_says_why_and_leaves_nothing(tmp_path, draw, words):
    with pytest.raises(DataError, match=words):
        draw(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_missing_matplotlib_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(LmscopeError, match=r'pip install "lmscope\[plots\]"'):
        line(tmp_path / "a.png")


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        line(tmp_path / "file" / "a.png")
