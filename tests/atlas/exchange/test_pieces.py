from hypothesis import given
from hypothesis import strategies as st

from lmscope.atlas.exchange.pieces import Piece, pieces, spelt


def spell(byte):
    return f"<{byte:02X}>"


def test_a_character_split_over_tokens_is_one_piece():
    # U+2019 is E2 80 99.
    tokens = [b"don", b"\xe2", b"\x80", b"\x99", b"t"]
    assert pieces(tokens, spell) == (Piece("don", 1), Piece("\u2019", 3), Piece("t", 1))


def test_a_token_may_end_within_a_character():
    assert pieces([b"a\xe2\x80", b"\x99b"], spell) == (Piece("a\u2019b", 2),)


def test_bytes_that_nothing_completes_are_spelt_and_their_neighbours_unharmed():
    assert pieces([b"\x99", b" a\xe2", b"b", b"\xf0\x9f"], spell) == (
        Piece("<99>", 1),
        Piece(" a<E2>", 1),
        Piece("b", 1),
        Piece("<F0><9F>", 1),
    )


def test_a_surrogate_is_no_character():
    assert spelt(b"x\xed\xa0\x80", spell) == "x<ED><A0><80>"


@given(st.text(max_size=12), st.data())
def test_any_cut_of_a_text_gives_the_text_back(text, data):
    whole = text.encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=8)))
    tokens = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    found = pieces(tokens, spell)
    assert "".join(piece.text for piece in found) == text
    assert sum(piece.n_tokens for piece in found) == len(tokens)


@given(st.lists(st.binary(max_size=4), max_size=8))
def test_any_bytes_keep_their_number_of_tokens(tokens):
    assert sum(piece.n_tokens for piece in pieces(tokens, spell)) == len(tokens)
