import pytest

from lmscope.server.settings import ServeSettings
from lmscope.server.tokens import Access, Tokens

READ, WRITE = "r" * 20, "w" * 20


def tokens(read=None, write=None, port=8710):
    return Tokens(ServeSettings(token=read, write_token=write, port=port))


def cookie(found, shown):
    return found.cookie(shown).partition(";")[0]


@pytest.mark.parametrize(
    ("read", "write", "open_to_all", "with_read", "with_write"),
    [
        (None, None, Access.WRITE, Access.WRITE, Access.WRITE),
        (READ, None, Access.NOTHING, Access.WRITE, Access.NOTHING),
        (None, WRITE, Access.READ, Access.READ, Access.WRITE),
        (READ, WRITE, Access.NOTHING, Access.READ, Access.WRITE),
    ],
)
def test_what_each_token_allows(read, write, open_to_all, with_read, with_write):
    found = tokens(read, write)
    assert found.access(None, None) is open_to_all
    assert found.access(f"Bearer {READ}", None) is with_read
    assert found.access(f"bearer {WRITE}", None) is with_write


@pytest.mark.parametrize("shown", ["", "r" * 19, "r" * 21, "R" * 20, "é" * 20, "\udce9"])
def test_any_other_token_allows_nothing(shown):
    assert tokens(READ).of_token(shown) is Access.NOTHING


def test_another_scheme_than_bearer_allows_nothing():
    assert tokens(READ).access(f"Basic {READ}", None) is Access.NOTHING


def test_a_cookie_stands_for_its_token_and_does_not_hold_it():
    found = tokens(READ, WRITE)
    for shown, access in ((READ, Access.READ), (WRITE, Access.WRITE)):
        made = found.cookie(shown)
        assert shown not in made
        assert "HttpOnly" in made
        assert "SameSite=Strict" in made
        assert found.access(None, cookie(found, shown)) is access


def test_a_token_is_no_cookie_and_a_cookie_is_no_token():
    found = tokens(READ)
    value = cookie(found, READ).partition("=")[2]
    assert found.access(None, f"{found.cookie_name}={READ}") is Access.NOTHING
    assert found.of_token(value) is Access.NOTHING


def test_a_cookie_of_another_port_or_token_allows_nothing():
    assert tokens(READ, port=8711).access(None, cookie(tokens(READ), READ)) is Access.NOTHING
    assert tokens("s" * 20).access(None, cookie(tokens(READ), READ)) is Access.NOTHING


def test_a_broken_cookie_header_allows_nothing():
    assert tokens(READ).access(None, "\x00;;=;lmscope-8710") is Access.NOTHING
