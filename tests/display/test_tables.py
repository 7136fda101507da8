import pytest
from rich.console import Console

from lmscope.core.errors import DataError
from lmscope.display.tables import Table, shown

HOSTILE = '<script>alert("x")</script>|[bold]\x1b[31m\n'


def printed(renderable):
    console = Console(width=200, force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(renderable)
    return capture.get()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "—"), (True, "yes"), (1234567, "1,234,567"), (0.0, "0.000"), (0.78512, "0.7851"),
        (12.3456, "12.35"), (4200.4, "4,200"), (-1.5, "-1.500"), (1.5e-7, "1.500e-07"),
        (3e8, "3.000e+08"), (float("nan"), "—"), (float("inf"), "∞"), ("word", "word"),
    ],
)  # fmt: skip
def test_values_are_shown_with_four_digits(value, text):
    assert shown(value) == text


def test_markdown_aligns_numbers_right():
    table = Table(("name", "n"), (("a", 1), ("b", None)), caption="Both.")
    assert table.to_markdown() == "| name | n |\n| :--- | ---: |\n| a | 1 |\n| b | — |\n\nBoth.\n"


def test_hostile_text_has_no_effect_anywhere():
    table = Table((HOSTILE,), ((HOSTILE,),), caption=HOSTILE)
    assert "<script" not in table._repr_html_()
    assert "&lt;script&gt;" in table._repr_html_()
    row = table.to_markdown().splitlines()[2]
    assert "<script" not in row
    assert row.count("|") - row.count("\\|") == 2
    text = printed(table.to_rich())
    assert "[bold]" in text
    assert "\x1b[31m" not in text


def test_html_aligns_as_asked():
    assert 'style="text-align:center">7<' in Table(("n",), ((7,),), ("center",))._repr_html_()


def test_a_ragged_table_is_refused():
    with pytest.raises(DataError, match="1 values for 2 columns"):
        Table(("a", "b"), ((1,),))
    with pytest.raises(DataError, match="2 alignments for 1 columns"):
        Table(("a",), ((1,),), ("left", "left"))
