"""Targets as people write them: `" Paris"`, `" Paris" - " London"`, `mlp_out@2/17@-1`, `score 3.5 8->2`."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeGuard

from lmscope.circuits.frozen import Frozen
from lmscope.circuits.scores import Against, ScoreTarget, Side
from lmscope.circuits.targets import FeatureTarget, LogitTarget, Start, Target, position_of
from lmscope.core.errors import DataError, RecipeError, did_you_mean
from lmscope.core.known_words import known_words
from lmscope.core.site import Site
from lmscope.models.language_model import LanguageModel

MEAN: Final = "mean"
"""What a logit is compared with, instead of another token: the mean over the vocabulary."""
TARGET_FORMS: Final = (
    'a token (" Paris" or token:123), a difference (" Paris" - " London", " Paris" - mean), a feature '
    "(mlp_out@2/17@-1: site, latent, position), a score (score 3.5 8->2: layer.head, query->key) or a "
    "difference of scores (score 3.5 8->2 - 8->4, score 3.5 8->2 - mean)"
)
"""One sentence's part that says how a target is written."""

_TOKEN: Final = r'(?:(?:token\s+)?"(?P<{0}>(?:[^"\\]|\\.)*)"|token:(?P<{0}_id>\d+))'
_LOGIT: Final = re.compile(
    rf"{_TOKEN.format('token')}(?:\s+-\s+(?:{_TOKEN.format('other')}|(?P<mean>mean)))?"
    r"(?:\s*@\s*(?P<position>-?\d+))?",
    re.ASCII | re.DOTALL,
)
_FEATURE: Final = re.compile(r"(?P<where>\S+)/(?P<latent>\d+)(?:@(?P<position>-?\d+))?", re.ASCII)
_SCORE: Final = re.compile(
    r"score\s+(?P<layer>\d+)\.(?P<head>\d+)\s+(?P<query>-?\d+)\s*->\s*(?P<key>-?\d+)"
    r"(?:\s+-\s+(?:(?P<again>-?\d+)\s*->\s*(?P<other>-?\d+)|(?P<mean>mean)))?"
    r"(?:\s+(?P<side>query|key|both))?",
    re.ASCII,
)
_TOP: Final = re.compile(r"top(?:\s*@\s*(?P<position>-?\d+))?", re.ASCII)
_BEGINS_A_FORM: Final = re.compile(r"\s*(?:\"|token[\s:]|score\s|[a-z_]+@\d)", re.ASCII)


@dataclass(frozen=True)
class TopTarget:
    """The logit of the token that the model itself holds most probable.

    Attributes:
        position: Negative ones count from the end.
    """

    position: int = -1

    def start(self, frozen: Frozen) -> Start:
        """As of `Target`."""
        place = position_of(frozen, self.position)
        return LogitTarget(int(frozen.logits(place).argmax()), place).start(frozen)


@dataclass(frozen=True)
class LogitText:
    """A logit as it was written; which tokens it means depends on the model.

    Attributes:
        token: Text of one token, or its vocabulary id.
        against: Another one, `MEAN`, or None.
        position: Negative ones count from the end.
        against_mean: Whether `against` is the mean over the vocabulary.
    """

    token: str | int
    against: str | int | None = None
    position: int = -1
    against_mean: bool = False

    def resolve(self, model: LanguageModel) -> LogitTarget:
        """The logit in a model.

        Raises:
            DataError: A text is not one token, or an id is not in the vocabulary.
        """
        token = token_of(model, self.token)
        against = None if self.against is None else token_of(model, self.against)
        if token == against:
            raise DataError(
                f"{spoken(model, token)} less itself is 0 everywhere: give two different tokens."
            )
        return LogitTarget(token, self.position, against, demeaned=self.against_mean)


@dataclass(frozen=True)
class FeatureText:
    """A feature as it was written.

    Attributes:
        where: The site that its dictionary writes, or the dictionary's name.
        latent: Its number.
        position: Negative ones count from the end.
    """

    where: str
    latent: int
    position: int = -1

    def resolve(self, sites: Mapping[str, Site]) -> FeatureTarget:
        """The feature among dictionaries.

        Args:
            sites: The sites that dictionaries write, by their names and by their own texts.

        Raises:
            DataError: No dictionary is there.
        """
        if self.where not in sites:
            raise DataError(
                f"There is no feature '{self.where}/{self.latent}': no dictionary of this circuit writes or is "
                f"called '{self.where}'.{did_you_mean(self.where, sites) or ' It has no dictionary at all.'}"
            )
        return FeatureTarget(sites[self.where], self.position, self.latent)


ParsedTarget = LogitText | FeatureText | ScoreTarget | TopTarget
"""What a text says, before a model or dictionaries are known."""


@dataclass(frozen=True, eq=False)
class NamedTarget:
    """A target whose tokens are called by their texts.

    Attributes:
        target: The target.
        model: Whose vocabulary.
    """

    target: Target
    model: LanguageModel

    def start(self, frozen: Frozen) -> Start:
        """As of `Target`."""
        start = self.target.start(frozen)
        if start.token is None:
            return start
        name = f"logit {spoken(self.model, start.token)}"
        if start.against is not None:
            name += f" - logit {spoken(self.model, start.against)}"
        elif self.is_demeaned:
            name += " - mean logit"
        return replace(start, name=f"{name} @{start.position}")

    def read_by(self, frozen: Frozen) -> Target:
        """The target by itself, the top prediction as the logit that it is on this prompt."""
        if not isinstance(self.target, TopTarget):
            return self.target
        start = self.start(frozen)
        assert start.token is not None
        assert start.position is not None
        return LogitTarget(start.token, start.position)

    @property
    def is_demeaned(self) -> bool:
        """Whether the mean logit is taken away."""
        return isinstance(self.target, LogitTarget) and self.target.demeaned


def parse_target(text: str | None) -> ParsedTarget:
    """Read a target; no model is needed.

    What has none of the forms is the text of one token, as it is: ` Paris` with its space.

    Args:
        text: As in `TARGET_FORMS`; `top` or None: the model's own top prediction.

    Raises:
        RecipeError: It begins as one of the forms and goes on otherwise, or two scores differ in query.
    """
    if text is None:
        return TopTarget()
    if match := _TOP.fullmatch(text):
        return TopTarget(_position(match))
    if not text:
        raise RecipeError(f"The target is empty: write {TARGET_FORMS}.")
    if match := _SCORE.fullmatch(text.strip()):
        return _score(match)
    if match := _LOGIT.fullmatch(text.strip()):
        against = None if match["mean"] else _token(match, "other")
        token = _token(match, "token")
        assert token is not None
        return LogitText(token, against, _position(match), against_mean=bool(match["mean"]))
    if match := _FEATURE.fullmatch(text.strip()):
        return FeatureText(match["where"], int(match["latent"]), _position(match))
    if _BEGINS_A_FORM.match(text):
        raise RecipeError(f"'{text}' is no target: write {TARGET_FORMS}.")
    return LogitText(text)


def resolve_target(
    parsed: ParsedTarget, model: LanguageModel, sites: Mapping[str, Site]
) -> NamedTarget:
    """The target in a model with dictionaries.

    Args:
        parsed: What was asked for.
        model: The model.
        sites: As of `FeatureText.resolve`.

    Raises:
        DataError: A token or feature is not there.
    """
    match parsed:
        case LogitText():
            target: Target = parsed.resolve(model)
        case FeatureText():
            target = parsed.resolve(sites)
        case _:
            target = parsed
    return NamedTarget(target, model)


def token_of(model: LanguageModel, text: str | int) -> int:
    """The one token that a text is.

    Args:
        model: Whose vocabulary.
        text: The text with its spaces, or a vocabulary id.

    Raises:
        DataError: It is none, or several.
    """
    if isinstance(text, int):
        if not 0 <= text < model.d_vocab:
            raise DataError(
                f"There is no token {text}: the vocabulary of {model.name} has {model.d_vocab}, from 0."
            )
        return text
    if not text:
        raise DataError(f"An empty text is no token: write {TARGET_FORMS}.")
    ids = _ids(model, text)
    if len(ids) == 1 and not _is_unknown(model, ids[0], text):
        return ids[0]
    # Tokenizers that put a space before every text of their own say what a token is only behind another.
    before, both = _ids(model, "a"), _ids(model, f"a{text}")
    if both[:-1] == before and not _is_unknown(model, both[-1], text):
        return both[-1]
    raise DataError(_not_one_token(model, text, ids))


def spoken(model: LanguageModel, token: int) -> str:
    """A token's text in quotes, as a target is written."""
    return quoted(str(model.tokenizer.decode([token])))


def quoted(text: str) -> str:
    """A text in double quotes, control characters written out."""
    return json.dumps(text, ensure_ascii=False)


def _not_one_token(model: LanguageModel, text: str, ids: list[int]) -> str:
    if not ids or any(_is_unknown(model, one, None) for one in ids):
        return f"{quoted(text)} is not in the vocabulary of {model.name}: give another token."
    parts = ", ".join(spoken(model, one) for one in ids[:6]) + (", ..." if len(ids) > 6 else "")
    other = text[1:] if text.startswith(" ") else f" {text}"
    near = f" {quoted(other)} is one." if other and len(_ids(model, other)) == 1 else ""
    return (
        f"{quoted(text)} is not one token of {model.name} but {len(ids)} ({parts}), and one is traced at a "
        f"time: give one of them.{near}"
    )


def _ids(model: LanguageModel, text: str) -> list[int]:
    with known_words(model.tokenizer, [text]):
        return model.tokenizer.encode(text, add_special_tokens=False)


def _is_unknown(model: LanguageModel, token: int, text: str | None) -> bool:
    """Whether a token stands for what the vocabulary lacks, or shows as something else than the text."""
    if token == getattr(model.tokenizer, "unk_token_id", None):
        # Some tokenizers call a real token (the end of a text) their unknown one as well.
        return text is None or str(model.tokenizer.decode([token])) != text
    return text is not None and str(model.tokenizer.decode([token])).strip() != text.strip()


def _token(match: re.Match[str], name: Literal["token", "other"]) -> str | int | None:
    if (number := match[f"{name}_id"]) is not None:
        return int(number)
    if (text := match[name]) is None:
        return None
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        raise RecipeError(
            f'"{text}" has a backslash that means nothing: write \\\\ for one, \\n for a new line.'
        ) from None


def _score(match: re.Match[str]) -> ScoreTarget:
    layer, head, query, key = (int(match[name]) for name in ("layer", "head", "query", "key"))
    against: Against = "mean" if match["mean"] else None
    if match["other"] is not None:
        against = int(match["other"])
        if int(match["again"]) != query:
            raise RecipeError(
                f"A head's scores are compared for one query, but {query} and {match['again']} were given: write "
                f"score {layer}.{head} {query}->{key} - {query}->{against}."
            )
    return ScoreTarget(layer, head, query, key, _side(match["side"]), against)


def _position(match: re.Match[str]) -> int:
    return -1 if match["position"] is None else int(match["position"])


def _is_side(text: str | None) -> TypeGuard[Side]:
    return text in ("query", "key", "both")


def _side(text: str | None) -> Side:
    return text if _is_side(text) else "both"
