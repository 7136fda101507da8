import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmscope.core.errors import DataError
from lmscope.text.tasks.choices.example import ChoiceExample
from lmscope.text.tasks.choices.finding import find_choice_task, shipped_choice_tasks
from lmscope.text.tasks.choices.reading import render_reading
from lmscope.text.tasks.choices.rendering import Special
from lmscope.text.tasks.choices.task import Form

PROMPT = (20, 21, 22)
option_lists = st.lists(
    st.text(st.sampled_from("abc XYZ,:"), min_size=1, max_size=6),
    min_size=2,
    max_size=5,
    unique=True,
)


def said(tokenizer, row, prompt=PROMPT):
    """What each option's span reads as."""
    ids = (*row.before, *prompt, *row.after)
    return [tokenizer.decode(ids[first : last + 1]) for first, last in row.spans]


def choice(**values):
    template = values.pop("template", '{prompt}pick "{text}" Which? Options:{options}!')
    return Form(kind="reading", template=template, separator=",", **values)


@settings(max_examples=40)
@given(option_lists, st.randoms(use_true_random=False))
def test_a_span_holds_its_option_and_permuted_options_have_permuted_spans(
    encoder_characters, options, shuffler
):
    tokenizer, special = encoder_characters
    rows = []
    order = list(range(len(options)))
    shuffler.shuffle(order)
    for given_options in (options, [options[i] for i in order]):
        example = ChoiceExample({"text": "so"}, 0, tuple(given_options))
        found = render_reading(choice(), [example], tokenizer, special, prompt=PROMPT)
        rows += found.rows
        assert said(tokenizer, found.rows[0]) == given_options
        ids = (*found.rows[0].before, *PROMPT, *found.rows[0].after)
        assert (ids[0], ids[-1]) == (special.bos_id, special.end_id)
    assert [said(tokenizer, rows[0])[i] for i in order] == said(tokenizer, rows[1])
    # Both are of one length, so the spans of equally long options at the same place are the same.
    assert rows[0].spans[0][0] == rows[1].spans[0][0]


@pytest.mark.parametrize("name", shipped_choice_tasks())
def test_spans_of_shipped_tasks_read_as_their_options(name, words_encoder):
    task = find_choice_task(name)
    special = Special.of(words_encoder, is_causal=False)
    options = tuple(f"选项{i}" for i in range(len(task.labels))) if task.row_options else ()
    rows = [
        ChoiceExample(dict.fromkeys(task.fields, "x"), i, options) for i in range(len(task.labels))
    ]
    found = render_reading(task.form("reading"), rows, words_encoder, special, prompt=PROMPT)
    expected = list(options or task.form("reading").words)
    assert [said(words_encoder, row) for row in found.rows] == [expected] * len(rows)
    assert [row.label for row in found.rows] == list(range(len(rows)))


def test_a_row_reads_as_the_template(mood, encoder_characters):
    tokenizer, special = encoder_characters
    example = ChoiceExample({"text": "so so"}, 1)
    (row,) = render_reading(mood.form("reading"), [example], tokenizer, special, prompt=PROMPT).rows
    assert tokenizer.decode([*row.before, *row.after]) == (
        '<cls>mood "so so" Which? Options: bad, good!<sep>'
    )
    assert said(tokenizer, row) == [" bad", " good"]
    assert row.label == 1


def test_options_may_stand_ahead_of_the_prompt_and_have_letters(encoder_characters):
    tokenizer, special = encoder_characters
    form = choice(template="{options}{prompt}{text}", words=("A", "B"), option="({word}) {option};")
    example = ChoiceExample({"text": "so"}, 0, ("yes", "no"))
    (row,) = render_reading(form, [example], tokenizer, special, prompt=PROMPT).rows
    assert tokenizer.decode(row.before) == "<cls>(A) yes;,(B) no;"
    assert said(tokenizer, row) == ["yes", "no"]


def test_a_long_passage_is_cut_and_its_options_stay(mood, encoder_characters):
    tokenizer, special = encoder_characters
    example = ChoiceExample({"text": "x" * 50}, 1)
    whole = render_reading(mood.form("reading"), [example], tokenizer, special, prompt=PROMPT).rows[
        0
    ]
    length = len(whole.before) + len(PROMPT) + len(whole.after)
    found = render_reading(
        mood.form("reading"), [example], tokenizer, special, prompt=PROMPT, max_length=length - 7
    )
    assert tokenizer.decode(found.rows[0].after).count("x") == 43
    assert said(tokenizer, found.rows[0]) == [" bad", " good"]
    with pytest.raises(DataError, match="None of 1 examples fits"):
        render_reading(
            mood.form("reading"),
            [example],
            tokenizer,
            special,
            prompt=PROMPT,
            max_length=length - 7,
            too_long="drop",
        )


SPAN = Form(
    kind="extraction",
    template='{prompt}find (or none): "{text}" "{text_b}"',
    no_answer="none",
)


def question(text, *answers):
    return ChoiceExample({"text": text, "text_b": "none of what?"}, 0, answers or ("",))


@settings(max_examples=40)
@given(
    st.text(st.sampled_from("ab "), max_size=8),
    st.text(st.sampled_from("xy"), min_size=1, max_size=4),
    st.text(st.sampled_from("ab "), max_size=8),
)
def test_an_answer_is_found_in_its_text(encoder_characters, ahead, answer, behind):
    tokenizer, special = encoder_characters
    example = question(ahead + answer + behind, answer)
    (row,) = render_reading(SPAN, [example], tokenizer, special, prompt=PROMPT).rows
    assert said(tokenizer, row) == [answer]
    # <cls>, 3 of the prompt, the template's 17 characters and those ahead of the answer
    assert row.spans[0][0] == 1 + 3 + len('find (or none): "') + len(ahead)
    assert row.label == 0


def test_a_question_without_answer_is_answered_by_the_template(encoder_characters):
    tokenizer, special = encoder_characters
    (row,) = render_reading(SPAN, [question("none")], tokenizer, special, prompt=PROMPT).rows
    assert said(tokenizer, row) == ["none"]
    assert row.spans == ((1 + 3 + len("find (or "), 1 + 3 + len("find (or none") - 1),)


def test_tokens_of_a_passage_do_not_depend_on_its_answer(words_tokenizer):
    special = Special.of(words_tokenizer, is_causal=True)
    text = "it is positive or negative"
    rows = [
        render_reading(
            SPAN, [question(text, answer)], words_tokenizer, special, prompt=PROMPT
        ).rows[0]
        for answer in ("positive", "sitive o", "negative")
    ]
    assert len({row.after for row in rows}) == 1
    assert [said(words_tokenizer, row)[0] for row in rows] == [
        " positive",
        " positive or",
        " negative",
    ]


def test_a_question_whose_answer_is_cut_off_is_left_out(encoder_characters):
    tokenizer, special = encoder_characters
    rows = [question("ab" + "c" * 9, "ab"), question("c" * 9 + "ab", "ab")]
    whole = render_reading(SPAN, rows, tokenizer, special, prompt=PROMPT)
    length = len(whole.rows[0].before) + len(PROMPT) + len(whole.rows[0].after)
    found = render_reading(SPAN, rows, tokenizer, special, prompt=PROMPT, max_length=length - 1)
    assert (len(found.rows), found.n_too_long) == (1, 1)
    assert said(tokenizer, found.rows[0]) == ["ab"]


def test_what_cannot_be_read_is_one_sentence(mood, encoder_characters):
    tokenizer, special = encoder_characters
    cases = [
        (mood.form("masked"), question("a"), "A masked form answers with a word"),
        (choice(), ChoiceExample({"text": "a"}, 0), "has no options, and its form lists no words"),
        (choice(), ChoiceExample({"text": "a"}, 0, ("x", "")), "Option 2 of an example is empty"),
        (SPAN, question("abc", "d"), "The answer 'd' stands nowhere in its text 'abc"),
        (SPAN.model_copy(update={"no_answer": ""}), question("abc"), "has no answer, and the form"),
    ]
    for form, example, message in cases:
        with pytest.raises(DataError, match=message):
            render_reading(form, [example], tokenizer, special, prompt=PROMPT)
