from importlib import metadata

import pytest

from lmscope.cli.requirements import requirements, within


@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("5.23.0", ">=5.17,<6", True),
        ("5.9.0", ">=5.17,<6", False),
        ("6.0", "<6,>=5.17", False),
        ("2.13.0+cpu", ">=2.11", True),
        ("2.11", ">=2.11.0", True),
        ("1.0", "", True),
    ],
)
def test_bounds_compare_release_numbers(version: str, bounds: str, fits: bool) -> None:
    assert within(version, bounds) is fits


def test_every_requirement_of_the_package_is_read_with_its_extra() -> None:
    found = {(one.name, one.extra) for one in requirements()}
    assert ("torch", None) in found
    assert ("matplotlib", "plots") in found
    assert len(found) == len(metadata.requires("lmscope") or ())


def test_this_test_run_has_what_lmscope_cannot_do_without() -> None:
    assert [one.name for one in requirements() if one.extra is None and not one.fits] == []
