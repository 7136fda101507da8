"""Text of the frozen corpus as the page shows it: whole characters, with their bytes and activations."""

from lmscope.atlas.atlas import Atlas
from lmscope.atlas.exchange.pieces import pieces
from lmscope.atlas.exchange.texts import as_byte_token
from lmscope.atlas.record import Example, ExampleGroup, TokenFirings, Weighted, is_held_out
from lmscope.atlas.text import CorpusText
from lmscope.server.schemas.feature import Passage, PassageGroup, Token, TokenRate, WeightedToken


def passage(corpus: CorpusText, example: Example) -> Passage:
    """An example with its text; tokens that share a character stand together, with their largest activation.

    Raises:
        ArtifactError: The corpus lacks the position.
    """
    ids = corpus.tokens(example.start, example.length).tolist()
    data = [corpus.token_bytes(one) for one in ids]
    values = example.activations().tolist()
    tokens, peak, i = [], 0, 0
    for piece in pieces(data, as_byte_token):
        end = i + piece.n_tokens
        if i <= example.peak < end:
            peak = len(tokens)
        raw = b"".join(data[i:end]).hex()
        value = max(values[i:end])
        tokens.append(Token(piece.text, ids[i:end], raw, value))
        i = end
    document = corpus.document(example.start + example.peak)
    context, position = divmod(example.start, corpus.context_length)
    return Passage(
        tokens=tokens,
        peak=peak,
        max=example.max,
        context=context,
        position=position,
        document=None if document is None else dict(vars(document)),
        held_out=is_held_out(example.start, corpus.context_length),
    )


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
