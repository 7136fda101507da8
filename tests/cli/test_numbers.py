import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmscope.cli.numbers import (
    format_bytes,
    format_count,
    format_seconds,
    parse_bytes,
    parse_count,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4608", 4608),
        ("2M", 2_000_000),
        ("500k", 500_000),
        ("500K", 500_000),
        ("1.5B", 1_500_000_000),
        ("0.5k", 500),
        ("2e6", 2_000_000),
        ("2_000_000", 2_000_000),
        (" 7 ", 7),
    ],
)
def test_a_count_is_read_as_people_write_it(text: str, count: int) -> None:
    assert parse_count(text) == count


@pytest.mark.parametrize(
    "text", ["", "k", "2Q", "-3", "two", "1,000", "1.5", "0", "0.0001k", "1 M", "nan", "٣"]
)
def test_what_is_no_count_is_refused_with_the_text_itself(text: str) -> None:
    with pytest.raises(ValueError, match=f"'{text}' is not a"):
        parse_count(text)


@given(st.integers(min_value=1, max_value=10**15), st.sampled_from("kKmMbBgGtT"))
def test_a_suffix_multiplies(n: int, suffix: str) -> None:
    scale = {"k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}[suffix.lower()]
    assert parse_count(f"{n}{suffix}") == n * scale


@given(st.integers(min_value=1, max_value=10**15))
def test_a_formatted_count_reads_back_within_one_percent(n: int) -> None:
    assert parse_count(format_count(n)) == pytest.approx(n, rel=0.01)


@given(st.integers(min_value=0, max_value=10**18))
def test_formatted_counts_stay_short(n: int) -> None:
    assert len(format_count(min(n, 10**14))) <= 5


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (999, "999"), (999.7, "1k"), (1000, "1k"), (4608, "4.61k"), (2_000_000, "2M")],
)
def test_counts_are_shown_with_about_three_digits(value: int | float, text: str) -> None:
    assert format_count(value) == text


@pytest.mark.parametrize(
    ("n", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3 << 29, "1.5 GiB")]
)
def test_bytes_have_binary_units(n: int, text: str) -> None:
    assert format_bytes(n) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.24, "4.2 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"), (7805, "2 h 10 min")],
)
def test_durations_are_shown_in_their_own_unit(seconds: int | float, text: str) -> None:
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("20GiB", 20 * 2**30),
        ("800 MiB", 800 * 2**20),
        ("1.5kib", 1536),
        ("80GB", 80 * 10**9),
        ("2TB", 2 * 10**12),
        ("4096", 4096),
        ("7B", 7),
    ],
)
def test_an_amount_of_memory_is_binary_or_decimal_as_it_is_written(text: str, n_bytes: int) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "GiB", "20 apples", "-1GiB", "20G", "0", "1e9"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no amount of memory|not at least one byte"):
        parse_bytes(text)
