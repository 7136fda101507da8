from dataclasses import asdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.core.errors import DataError, RecipeError
from lmscope.models.miniature import miniature
from lmscope.text.tasks.choices.example import ChoiceExample, content_free
from lmscope.text.tasks.choices.finding import find_choice_task
from lmscope.text.tasks.choices.rendering import Special, prompt_tokens, render
from lmscope.text.tasks.choices.task import Form
from lmscope.text.tasks.choices.words import word_ids

plain = st.text(st.sampled_from("abc XYZ.,{}[]<>'!"), max_size=20)


def short(form):
    """The same form with words of one character."""
    return form.model_copy(update={"words": ("b", "g")})


def examples_of(*texts):
    return [ChoiceExample({"text": text}, i % 2) for i, text in enumerate(texts)]


@settings(max_examples=40)
@given(st.lists(plain, min_size=1, max_size=4), st.sampled_from(["causal", "postfix"]))
def test_the_row_reads_as_the_template_and_ends_where_the_answer_is_due(
    mood, causal_characters, texts, kind
):
    tokenizer, special = causal_characters
    prompt = tuple(tokenizer.encode("PROMPT"))
    found = render(short(mood.form(kind)), examples_of(*texts), tokenizer, special, prompt=prompt)
    assert (found.prompt, found.n_too_long) == (prompt, 0)
    for i, (row, text) in enumerate(zip(found.rows, texts, strict=True)):
        ids = (*row.before, *prompt, *row.after)
        assert ids[0] == special.bos_id == tokenizer.bos_token_id
        template = mood.form(kind).template
        shown = template.replace("{prompt}", "PROMPT").replace("{text}", text)
        assert tokenizer.decode(ids[1:]) == shown
        assert (row.answer_at, row.label) == (len(ids) - 1, i % 2)
        assert tokenizer.decode(row.before[1:]) == template.split("{prompt}")[0].replace(
            "{text}", text
        )


@settings(max_examples=40)
@given(st.lists(plain, min_size=1, max_size=4))
def test_a_masked_row_has_its_mask_where_the_answer_is_read(mood, encoder_characters, texts):
    tokenizer, special = encoder_characters
    prompt = tuple(tokenizer.encode("PROMPT", add_special_tokens=False))
    form = mood.form("masked")
    found = render(form, examples_of(*texts), tokenizer, special, prompt=prompt)
    for row, text in zip(found.rows, texts, strict=True):
        ids = (*row.before, *prompt, *row.after)
        assert (ids[0], ids[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id)
        assert ids[row.answer_at] == tokenizer.mask_token_id
        assert ids.count(tokenizer.mask_token_id) == 1
        # The space ahead of the mask belongs to the answer and is not written.
        assert tokenizer.decode(ids[1:-1]) == f"PROMPT . {text} . It was<mask> ."


def test_a_mask_may_stand_on_either_side_of_the_prompt(encoder_characters):
    tokenizer, special = encoder_characters
    for template, at in (("{mask}a{prompt}{text}", 1), ("{text}{prompt}a{mask}", 6)):
        form = Form(kind="masked", template=template, words=("b", "g"))
        found = render(form, examples_of("xy"), tokenizer, special, prompt=(20, 21))
        # <cls> mask a p p x y <sep>, and <cls> x y p p a mask <sep>
        assert found.rows[0].answer_at == at


def test_texts_are_filled_in_as_they_are(mood, causal_characters):
    tokenizer, special = causal_characters
    form = short(mood.form("postfix"))
    found = render(form, examples_of("{prompt} {text} {{"), tokenizer, special, prompt=(20,))
    assert tokenizer.decode(found.rows[0].before[1:]) == "Say: {prompt} {text} {{\n"


def test_a_row_is_what_a_model_makes_of_the_same_text(mood):
    for family, kind in (("llama", "postfix"), ("bert", "masked")):
        model = miniature(family)
        special = Special.of(model.tokenizer, is_causal=model.is_causal)
        form = short(mood.form(kind)).model_copy(update={"instruction": "Hm?"})
        prompt = prompt_tokens(form, model.tokenizer)
        (row,) = render(form, examples_of("so"), model.tokenizer, special, prompt=prompt).rows
        shown = form.template.replace("{prompt}", "Hm?").replace("{text}", "so")
        batch = model.batch(shown.replace(" {mask}", "<mask>"))
        assert [*row.before, *prompt, *row.after] == batch.tokens[0].tolist()
        assert special.bos_id == model.bos_id


def test_words_are_looked_up_as_they_stand_in_the_template(words_tokenizer):
    form = find_choice_task("sst2").form("postfix")
    ids = word_ids(form, words_tokenizer)
    text = "Review: fine\nSentiment:"
    for word, token in zip(form.words, ids, strict=True):
        assert words_tokenizer.encode(text + word)[-1] == token
    alone = form.model_copy(update={"words": ("negative", "positive")})
    with pytest.raises(DataError, match="'negative' is not one token for this model but"):
        word_ids(alone, words_tokenizer)


def test_a_word_of_many_tokens_is_named_with_its_tokens(mood, causal_characters):
    with pytest.raises(
        DataError,
        match=r"The word ' b' is not one token for this model but 2 \(' ', 'b'\), .* choose a word",
    ):
        word_ids(mood.form("causal"), causal_characters[0])
    long = mood.form("causal").model_copy(update={"words": ("negative", "g")})
    with pytest.raises(DataError, match=r"but 8 \('n', 'e', 'g', 'a', 't', 'i', \.\.\.\)"):
        word_ids(long, causal_characters[0])


def test_words_without_a_token_or_with_the_same_one_are_refused(mood, causal_characters):
    form = mood.form("causal")
    for words, said in (
        (("好", "g"), "'好' has no token in this model's vocabulary of 100"),
        (("b", "b"), "'b' and 'b' of the template .* are the same token"),
    ):
        with pytest.raises(DataError, match=said):
            word_ids(form.model_copy(update={"words": words}), causal_characters[0])


def test_a_word_that_merges_with_the_text_ahead_of_it_is_refused(words_tokenizer):
    # " World" and " positive" are tokens, and "Wor" and "ld" are none ahead of them.
    form = Form(kind="causal", template="{prompt}{text} Worl", words=("d", " positive"))
    with pytest.raises(
        DataError, match="The word 'd' is not one token behind ' Worl' for this model"
    ):
        word_ids(form, words_tokenizer)
    apart = form.model_copy(update={"template": "{prompt}{text}: "})
    assert words_tokenizer.decode(word_ids(apart, words_tokenizer)[:1]) == "d"


def test_long_examples_are_left_out_and_counted(mood, causal_characters):
    tokenizer, special = causal_characters
    form = short(mood.form("postfix"))
    # <bos> "Say: " x "\n" + prompt of 2 + "So:" = 1 + 5 + n + 1 + 2 + 3 = 12 + n tokens
    texts = examples_of("x" * 8, "x" * 9, "x" * 10)
    found = render(form, texts, tokenizer, special, prompt=(20, 21), max_length=21)
    assert [len(row.before) for row in found.rows] == [15, 16]
    assert found.n_too_long == 1
    with pytest.raises(DataError, match="None of 3 examples fits into 19 tokens"):
        render(form, texts, tokenizer, special, prompt=(20, 21), max_length=19)
    with pytest.raises(DataError, match="no example to render"):
        render(form, [], tokenizer, special, prompt=(20, 21))


@settings(max_examples=40)
@given(st.integers(13, 30), plain.filter(bool))
def test_a_text_is_cut_no_more_than_it_must_be(mood, causal_characters, max_length, text):
    tokenizer, special = causal_characters
    form = short(mood.form("postfix"))
    given_example = examples_of(text)
    found = render(
        form,
        given_example,
        tokenizer,
        special,
        prompt=(20, 21),
        max_length=max_length,
        too_long="cut",
    )
    (row,) = found.rows
    kept = tokenizer.decode(row.before[1:])[len("Say: ") : -1]
    assert kept == text[: max_length - 12]
    assert tokenizer.decode(row.after) == "So:"
    assert found.n_too_long == 0


def test_what_does_not_fit_without_its_text_is_left_out(make_task, causal_characters):
    tokenizer, special = causal_characters
    form = {"template": "{text}{text_b}{prompt}", "words": ["b", "g"]}
    task = make_task(fields=["text", "text_b"], forms={"postfix": form})
    rows = [ChoiceExample({"text": "xx", "text_b": "y" * n}, 0) for n in (1, 9)]
    found = render(
        task.form("postfix"), rows, tokenizer, special, prompt=(20,), max_length=4, too_long="cut"
    )
    assert [tokenizer.decode(row.before[1:]) for row in found.rows] == ["xy"]
    assert found.n_too_long == 1


def test_options_are_listed_with_their_letters(causal_characters):
    tokenizer, special = causal_characters
    form = Form(
        kind="postfix",
        template="{text}?{options}{prompt}",
        words=("A", "B"),
        option="{word}: {option}.",
        separator="; ",
    )
    rows = [ChoiceExample({"text": "so"}, 1, ("yes", "no")), ChoiceExample({"text": "so"}, 0)]
    found = render(form, rows, tokenizer, special, prompt=(20,))
    shown = [tokenizer.decode(row.before[1:]) for row in found.rows]
    assert shown == ["so?A: yes.; B: no.", "so?A: A.; B: B."]


def test_a_prompt_stands_on_the_instruction_or_on_the_papers_ids(mood, words_tokenizer):
    ids = prompt_tokens(mood.form("postfix"), words_tokenizer)
    assert words_tokenizer.decode(ids) == "Was it good?\n"
    form = mood.form("postfix")
    many = FakeTokenizer(words_tokenizer, 50_000, [0, 1100])
    assert prompt_tokens(form, many, 50) == tuple(range(1000, 1050))
    assert prompt_tokens(form, many, 2, first=5) == (5, 6)
    with pytest.raises(DataError, match="ids 1000 to 1100, and 1100 is a special token"):
        prompt_tokens(form, many, 101)
    few = FakeTokenizer(words_tokenizer, 1049, [])
    with pytest.raises(DataError, match="ids 1000 to 1049, and this model's vocabulary has 1049"):
        prompt_tokens(form, few, 50)
    with pytest.raises(RecipeError, match="at least 1"):
        prompt_tokens(form, few, 0)
    with pytest.raises(DataError, match="no instruction"):
        prompt_tokens(mood.form("causal"), words_tokenizer)


class FakeTokenizer:
    """A tokenizer of another size."""

    def __init__(self, tokenizer, size, special):
        self.bos_token_id = self.eos_token_id = self.pad_token_id = None
        self.all_special_ids = special
        self.size = size
        self.encode, self.decode = tokenizer.encode, tokenizer.decode

    def __len__(self):
        return self.size


def test_forms_and_models_must_fit(mood, causal_characters, encoder_characters):
    tokenizer, special = causal_characters
    with pytest.raises(DataError, match="needs a model with a mask token"):
        render(mood.form("masked"), examples_of("a"), tokenizer, special, prompt=(20,))
    with pytest.raises(DataError, match="A reading form answers with a span"):
        render(mood.form("reading"), examples_of("a"), tokenizer, special, prompt=(20,))
    assert asdict(encoder_characters[1]) == {"bos_id": 1, "end_id": 2, "mask_id": 3}


def test_examples_without_content_fill_every_place(mood):
    chid = find_choice_task("chid")
    assert [dict(one.fields) for one in content_free(mood)] == [
        {"text": text} for text in ("N/A", "", "[MASK]")
    ]
    assert next(one.options for one in content_free(chid)) == ("N/A",) * 7
