"""Text of the frozen corpus as the page shows it: whole characters, with their bytes and activations."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from weakref import WeakKeyDictionary

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.exchange.pieces import pieces
from lmscope.atlas.exchange.texts import as_byte_token
from lmscope.atlas.record import Example, ExampleGroup, TokenFirings, Weighted, is_held_out
from lmscope.atlas.text import CorpusText
from lmscope.server.schemas.feature import Passage, PassageGroup, Token, TokenRate, WeightedToken

_MOST_KNOWN: Final = 1 << 14
_KNOWN: Final[WeakKeyDictionary[CorpusText, dict[int, Token | None]]] = WeakKeyDictionary()
"""Of each open corpus the tokens that were shown, as they are where they do not fire; None for parts of characters."""


def passage(corpus: CorpusText, example: Example) -> Passage:
    """An example with its text; tokens that share a character stand together, with their largest activation.

    Raises:
        ArtifactError: The corpus lacks the position.
    """
    ids = corpus.tokens(example.start, example.length).tolist()
    tokens = _tokens(corpus, ids, example.activations().tolist())
    document = corpus.document(example.start + example.peak)
    context, position = divmod(example.start, corpus.context_length)
    return Passage(
        tokens=tokens,
        peak=_place(tokens, example.peak),
        max=example.max,
        context=context,
        position=position,
        document=None if document is None else dict(vars(document)),
        held_out=is_held_out(example.start, corpus.context_length),
    )


def _tokens(corpus: CorpusText, ids: list[int], values: list[float]) -> list[Token]:
    found: list[Token] = []
    parts: list[int] = []
    for place, (token, value) in enumerate(zip(_alone(corpus, ids), values, strict=True)):
        if token is None:
            parts.append(place)
            continue
        if parts:
            found += _together(corpus, [ids[i] for i in parts], [values[i] for i in parts])
            parts = []
        found.append(token if value == 0 else replace(token, value=value))
    if parts:
        found += _together(corpus, [ids[i] for i in parts], [values[i] for i in parts])
    return found


def _alone(corpus: CorpusText, ids: list[int]) -> list[Token | None]:
    """Tokens as they are where they do not fire; None for those that are no whole characters."""
    known = _KNOWN.setdefault(corpus, {})
    if len(known) > _MOST_KNOWN:
        known.clear()
    for one in ids:
        if one not in known:
            known[one] = _silent(one, corpus.token_bytes(one))
    return [known[one] for one in ids]


def _silent(token: int, data: bytes) -> Token | None:
    try:
        # Nothing at all may stand within a character, so it is no whole one either.
        return Token(data.decode(), [token], data.hex(), 0.0) if data else None
    except UnicodeDecodeError:
        return None


def _together(corpus: CorpusText, ids: list[int], values: list[float]) -> Iterator[Token]:
    """Neighbours of which none is whole characters by itself, as few together as whole ones need."""
    data = [corpus.token_bytes(one) for one in ids]
    i = 0
    for piece in pieces(data, as_byte_token):
        end = i + piece.n_tokens
        yield Token(piece.text, ids[i:end], b"".join(data[i:end]).hex(), max(values[i:end]))
        i = end


def _place(tokens: list[Token], peak: int) -> int:
    """Where among tokens put together the one of a number stands."""
    last = 0
    for place, token in enumerate(tokens):
        last += len(token.ids)
        if peak < last:
            return place
    return 0


def passage_group(atlas: Atlas, group: ExampleGroup) -> PassageGroup:
    """The examples of one interval.

    Raises:
        ArtifactError: As of `passage`.
    """
    return PassageGroup(
        name=group.name,
        low=group.low,
        high=group.high,
        share=group.share,
        passages=[passage(atlas.corpus, example) for example in group.examples],
    )


def weighted_tokens(atlas: Atlas, ones: tuple[Weighted, ...]) -> list[WeightedToken]:
    """Tokens with a number each."""
    return [WeightedToken(id=one.id, text=atlas.texts.one(one.id), value=one.value) for one in ones]


def token_rates(atlas: Atlas, ones: tuple[TokenFirings, ...]) -> list[TokenRate]:
    """How often the latent fires on each of its commonest tokens."""
    return [
        TokenRate(
            id=one.token,
            text=atlas.texts.one(one.token),
            n_fired=one.n_fired,
            n_seen=one.n_seen,
        )
        for one in ones
    ]
