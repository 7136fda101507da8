"""Conversations as text, through a tokenizer's own chat template, with who said what kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, runtime_checkable

from lmscope.core.errors import DataError, did_you_mean
from lmscope.text.document import ROLES, Document, Span
from lmscope.text.rows import cell, described
from lmscope.text.sources import digest

_MARK: Final = "\ue000{}\ue001"
"""Stands in for a message's content while the template shows where it puts it."""


@runtime_checkable
class ChatTokenizer(Protocol):
    """A tokenizer with a chat template."""

    chat_template: Any

    def apply_chat_template(
        self, conversation: list[dict[str, str]], /, *, tokenize: bool = True
    ) -> Any:
        """The conversation as the model was trained to see it."""
        ...


@dataclass(frozen=True)
class ChatTemplate:
    """Reads rows whose `messages` are `[{"role": "user", "content": "..."}, ...]`.

    Each message's content becomes a span of its role; the template's own mark-up (and a system
    prompt that the template adds by itself) belongs to no role.

    Attributes:
        tokenizer: Renders the conversation.
        column: The column that holds the messages.
    """

    tokenizer: ChatTokenizer
    column: str = "messages"

    def __post_init__(self) -> None:
        if not getattr(self.tokenizer, "chat_template", None):
            raise DataError(
                "This tokenizer has no chat template, so conversations cannot be read with it: "
                "use an instruction-tuned model or plain text."
            )

    @property
    def fingerprint(self) -> str:
        """Changes with the template and the column."""
        return digest("chat", self.tokenizer.chat_template, self.column)

    def document(self, row: Mapping[str, Any], place: str, source: str) -> Document:
        """The row's conversation as one document.

        Raises:
            DataError: A message has no known role or no text, or the template refuses or rewrites
                the conversation.
        """
        messages = _checked(cell(row, self.column, place), place)
        text = self._render(messages, place)
        spans = tuple(_locate(text, messages, self._frame(messages, place), place))
        return described(row, text, place, source, spans)

    def _render(self, messages: list[dict[str, str]], place: str) -> str:
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(messages, tokenize=False)
        except (TemplateError, TypeError, KeyError) as error:
            raise DataError(
                f"{place}: the chat template refuses this conversation: {error}"
            ) from None

    def _frame(self, messages: list[dict[str, str]], place: str) -> list[str]:
        """The template's own text before, between and after the contents."""
        marks = [_MARK.format(i) for i in range(len(messages))]
        marked = [{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)]
        rest = self._render(marked, place)
        frame = []
        for mark in marks:
            before, found, rest = rest.partition(mark)
            if not found:
                raise _rewritten(place)
            frame.append(before)
        return [*frame, rest]


def _checked(messages: Any, place: str) -> list[dict[str, str]]:
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise DataError(f'{place}: messages must be a list of {{"role": ..., "content": ...}}.')
    checked = []
    for message in messages:
        role, content = (
            (message.get("role"), message.get("content"))
            if isinstance(message, Mapping)
            else 2 * (None,)
        )
        if role not in ROLES:
            raise DataError(
                f"{place}: a message has the role '{role}'.{did_you_mean(str(role), ROLES)}"
            )
        if not isinstance(content, str):
            raise DataError(f"{place}: a message of role '{role}' has no text as its content.")
        checked.append({"role": role, "content": content})
    return checked


def _locate(
    text: str, messages: list[dict[str, str]], frame: list[str], place: str
) -> Iterator[Span]:
    """Where each content stands; templates may strip white space from it, nothing else."""
    cursor = len(frame[0])
    if not text.startswith(frame[0]):
        raise _rewritten(place)
    for message, (is_last, after) in zip(messages, _with_last(frame[1:]), strict=True):
        said = message["content"]
        for form in (said, said.rstrip(), said.lstrip(), said.strip()):
            end = cursor + len(form)
            fits = text[end:] == after if is_last else text.startswith(after, end)
            if text.startswith(form, cursor) and fits:
                break
        else:
            raise _rewritten(place)
        if form:
            yield Span(cursor, end, ROLES[message["role"]])
        cursor = end + len(after)


def _with_last(items: list[str]) -> Iterator[tuple[bool, str]]:
    last = [False] * (len(items) - 1) + [True]
    return zip(last, items, strict=True)


def _rewritten(place: str) -> DataError:
    return DataError(
        f"{place}: the chat template rewrites or drops a message of this conversation, so nobody can "
        "say which of its tokens are whose: remove the row or use another template."
    )
