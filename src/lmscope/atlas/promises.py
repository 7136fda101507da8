"""Which tokens a feature promises: by its decoder row, by its peaks, or by what a label says."""

from collections.abc import Sequence

import numpy as np

from lmscope.atlas.explain.protocols import Case
from lmscope.atlas.explain.rules import Condition, Passages, Rule
from lmscope.atlas.record import Example, LatentRecord


def record_promises(record: LatentRecord, n: int = 10) -> dict[str, tuple[int, ...]]:
    """What a record promises of its latent: `top_logits` and `peak_tokens`, those that it has.

    Args:
        record: The latent.
        n: Tokens of each, at most.
    """
    lists = {"top_logits": record.top_logits, "peak_tokens": record.peak_tokens}
    return {name: tuple(one.id for one in found[:n]) for name, found in lists.items() if found}


def rule_promise(rule: Rule, texts: Sequence[str]) -> tuple[int, ...]:
    """The tokens that a rule names: those that can stand where the latent fires, or near it.

    Of each alternative the conditions on the token itself have to hold together; where there is none,
    any condition on words around it does. A place in the context names no token.

    Args:
        rule: What a label says.
        texts: What each token of the vocabulary shows as, by its id.

    Returns:
        Ids, ascending; empty for a rule on places alone.
    """
    empty = np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32)
    vocabulary = Passages.of(
        [Case(Example(0, 1, 0, *empty), (i,), (text,)) for i, text in enumerate(texts)]
    )
    found = np.zeros(len(texts), dtype=np.bool_)
    for clause in rule.any_of:
        named = [condition for condition in clause if condition.kind != "position"]
        own = [c for c in named if not c.anywhere and c.low <= 0 <= c.high]
        asked = [vocabulary.where(_alone(c), rule.context_length)[:, 0] for c in own or named]
        if asked:
            found |= np.all(asked, axis=0) if own else np.any(asked, axis=0)
    return tuple(int(token) for token in found.nonzero()[0])


def _alone(condition: Condition) -> Condition:
    """The same condition, asked of one token and not of its neighbours."""
    return condition.model_copy(update={"low": 0, "high": 0, "anywhere": False, "at_least": 1})
