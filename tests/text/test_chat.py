"""Chat templates: the text is the template's, and every token knows who said it."""

import json

import pytest

from lmscope.core.errors import DataError
from lmscope.text.chat import ChatTemplate
from lmscope.text.corpus import Corpus


def chat(tokenizer, *messages: tuple[str, str]):
    row = {"messages": [{"role": role, "content": content} for role, content in messages]}
    return ChatTemplate(tokenizer).document(row, "chat.jsonl:1", "chat.jsonl")


def said(document) -> list[tuple[int, str]]:
    return [(s.role, document.text[s.start : s.end]) for s in document.spans]


def test_spans_are_the_contents_as_the_template_puts_them(decoder_tokenizer):
    document = chat(decoder_tokenizer, ("system", " Hi. "), ("user", "a"), ("assistant", "user\n"))
    assert document.text == "<|system|>Hi.\n<|user|>a\n<|assistant|>user\n"
    # "a" also stands in "<|assistant|>" and "user" in "<|user|>": only the contents count
    assert said(document) == [(0, "Hi."), (1, "a"), (2, "user")]
    assert document.spans[1].start == document.text.index(">a\n") + 1


def test_a_prompt_that_the_template_adds_belongs_to_nobody(decoder_tokenizer):
    document = chat(decoder_tokenizer, ("user", "Be kind."))
    assert document.text == "<|system|>Be kind.\n<|user|>Be kind.\n"
    assert said(document) == [(1, "Be kind.")]
    assert document.spans[0].start == document.text.rindex("Be kind.")


def test_an_empty_message_has_no_span(decoder_tokenizer):
    assert said(chat(decoder_tokenizer, ("user", " "), ("assistant", "b"))) == [(2, "b")]


def test_roles_survive_packing(decoder_tokenizer, tmp_path):
    path = tmp_path / "chat.jsonl"
    rows = [
        [{"role": "user", "content": "é1"}, {"role": "assistant", "content": "ok"}],
        [{"role": "user", "content": "2"}],
    ]
    path.write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    corpus = Corpus.load(path, reader=ChatTemplate(decoder_tokenizer))
    contexts = corpus.contexts(decoder_tokenizer, 7, bos_id=256)
    found = contexts.rows(range(len(contexts)))
    tokens, roles = found.tokens[found.mask], found.spans[found.mask]
    assert decoder_tokenizer.decode(tokens[roles == 1]) == "é12"
    assert decoder_tokenizer.decode(tokens[roles == 2]) == "ok"
    rest = decoder_tokenizer.decode(tokens[roles == -1])
    header = "<bos><|system|>Be kind.\n<|user|>\n"
    assert rest == f"{header}<|assistant|>\n{header}"


def test_plain_documents_beside_conversations_have_no_roles(decoder_tokenizer):
    plain = next(Corpus.from_texts(["plain"]).documents())
    talk = chat(decoder_tokenizer, ("user", "xyz"))
    contexts = Corpus.from_documents([plain, talk, plain]).contexts(
        decoder_tokenizer, 5, bos_id=256
    )
    rows = contexts.rows(range(len(contexts)))
    assert set(rows.documents[rows.spans == 1].tolist()) == {1}
    assert (rows.spans == 1).sum() == 3


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hello", "messages must be a list"),
        ([], "messages must be a list"),
        ([{"role": "asistant", "content": "a"}], "role 'asistant'. Did you mean assistant"),
        ([{"role": "user", "content": None}], "no text as its content"),
        (["a"], "role 'None'"),
    ],
)
def test_wrong_messages_are_named(decoder_tokenizer, messages, message):
    with pytest.raises(DataError, match=rf"^chat:7: .*{message}"):
        ChatTemplate(decoder_tokenizer).document({"messages": messages}, "chat:7", "chat")


def test_a_missing_column_names_those_that_are_there(decoder_tokenizer):
    with pytest.raises(DataError, match="no column 'messages'; it has mesages, id"):
        ChatTemplate(decoder_tokenizer).document({"mesages": [], "id": "1"}, "chat:7", "chat")


class Template:
    """A tokenizer whose template is a function."""

    chat_template = "code"

    def __init__(self, render):
        self.render = render

    def apply_chat_template(self, conversation, /, *, tokenize=True):
        return self.render(conversation)


@pytest.mark.parametrize(
    "render",
    [
        lambda m: "".join(x["content"].upper() for x in m) + ".",
        lambda m: m[0]["content"],
        lambda m: "".join(reversed([x["content"] for x in m])),
        lambda m: "same",
    ],
)
def test_a_template_that_rewrites_the_conversation_is_an_error(render):
    with pytest.raises(DataError, match="rewrites or drops"):
        chat(Template(render), ("user", "one"), ("assistant", "two"))


def test_a_template_that_refuses_a_conversation_is_an_error(decoder_tokenizer):
    from jinja2 import TemplateError

    def refuse(messages):
        raise TemplateError("roles must alternate")

    with pytest.raises(DataError, match="refuses this conversation: roles must alternate"):
        chat(Template(refuse), ("user", "one"))


def test_a_tokenizer_without_a_template_is_an_error(encoder_tokenizer):
    with pytest.raises(DataError, match="no chat template"):
        ChatTemplate(encoder_tokenizer)
