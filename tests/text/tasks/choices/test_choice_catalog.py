import re
from pathlib import Path

import pytest

import lmscope
from lmscope.text.tasks.choices.example import ChoiceExample, content_free
from lmscope.text.tasks.choices.finding import find_choice_task, shipped_choice_tasks
from lmscope.text.tasks.choices.reading import render_reading
from lmscope.text.tasks.choices.rendering import Special, prompt_tokens, render
from lmscope.text.tasks.choices.task import WORD_KINDS

ENGLISH = ["agnews", "cr", "dbpedia", "mr", "mrpc", "rte", "snli", "sst2", "subj", "trec", "yelp"]
CHINESE = ["bustm", "chid", "cluewsc", "csl", "csldcp", "eprstmt", "ocnli", "tnews"]
BIB = Path(lmscope.__file__).parents[2] / "docs" / "papers.bib"
by_task = pytest.mark.parametrize("name", shipped_choice_tasks())


def example_of(task):
    fields = {field: f"<{field}>" for field in task.fields}
    options = tuple(f"option{i}" for i in range(len(task.labels))) if task.row_options else ()
    return ChoiceExample(fields, len(task.labels) - 1, options)


def test_the_tasks_of_the_papers_are_there():
    assert shipped_choice_tasks() == tuple(sorted(ENGLISH + CHINESE))
    languages = {name: find_choice_task(name).language for name in shipped_choice_tasks()}
    assert languages == dict.fromkeys(ENGLISH, "en") | dict.fromkeys(CHINESE, "zh")


@by_task
def test_every_task_has_its_files_name_and_all_kinds_of_forms(name):
    task = find_choice_task(name)
    assert task.name == name
    assert {form.kind for form in task.forms.values()} == {"causal", "postfix", "masked", "reading"}
    assert task.layouts
    assert all(form.instruction for form in task.forms.values())


@by_task
def test_words_of_a_form_all_begin_with_a_space_or_none_does(name):
    for form in find_choice_task(name).forms.values():
        assert len({word.startswith(" ") for word in form.words}) <= 1


@by_task
def test_every_form_renders_where_its_words_are_single_tokens(name, words_tokenizer, words_encoder):
    task = find_choice_task(name)
    example = example_of(task)
    for form in task.forms.values():
        is_causal = form.kind in ("causal", "postfix")
        tokenizer = words_tokenizer if is_causal else words_encoder
        special = Special.of(tokenizer, is_causal=is_causal)
        prompt = prompt_tokens(form, tokenizer)
        if form.kind not in WORD_KINDS:
            (row,) = render_reading(form, [example], tokenizer, special, prompt=prompt).rows
            assert len(row.spans) == len(task.labels)
            continue
        found = render(form, [example], tokenizer, special, prompt=prompt)
        assert [tokenizer.decode([word]) for word in found.words] == list(form.words)
        text = tokenizer.decode([*found.rows[0].before, *found.rows[0].after])
        assert all(f"<{field}>" in text for field in task.fields)


@pytest.mark.parametrize("name", ENGLISH)
def test_english_forms_render_character_by_character(name, causal_characters, encoder_characters):
    task = find_choice_task(name)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for form in task.forms.values():
        if form.kind not in WORD_KINDS:
            continue
        tokenizer, special = encoder_characters if form.kind == "masked" else causal_characters
        short = form.model_copy(update={"words": tuple(letters[: len(task.labels)])})
        found = render(short, [example_of(task)], tokenizer, special, prompt=(20, 21))
        (row,) = found.rows
        ids = (*row.before, *found.prompt, *row.after)
        if form.kind == "masked":
            assert ids[row.answer_at] == special.mask_id
        else:
            assert row.answer_at == len(ids) - 1


@by_task
def test_a_postfix_form_has_the_same_tokens_behind_every_text(name, words_tokenizer):
    task = find_choice_task(name)
    special = Special.of(words_tokenizer, is_causal=True)
    prompt = prompt_tokens(task.form("postfix"), words_tokenizer)
    examples = [example_of(task), *content_free(task)]
    found = render(task.form("postfix"), examples, words_tokenizer, special, prompt=prompt)
    assert len({row.after for row in found.rows}) == 1
    assert len({row.before for row in found.rows}) > 1


@pytest.mark.skipif(not BIB.exists(), reason="an installed copy")
def test_who_made_the_data_stands_in_the_list_of_papers():
    known = set(re.findall(r"@\w+\{(\w+),", BIB.read_text(encoding="utf-8")))
    tasks = [find_choice_task(name) for name in shipped_choice_tasks()]
    assert {key for task in tasks for key in task.references} <= known
    assert all(task.references for task in tasks)


def test_the_paper_s_forms_are_as_the_paper_has_them():
    form = find_choice_task("sst2").form("masked")
    assert (form.template, form.words) == (
        "{prompt} . {text} . It was {mask} .",
        (" bad", " great"),
    )
    form = find_choice_task("agnews").form("masked")
    assert form.template == "{prompt} . {mask} News: {text}"
    assert form.words == (" World", " Sports", " Business", " Tech")
    form = find_choice_task("mrpc").form("masked")
    assert (form.template, form.words) == ("{prompt} . {text} ? {mask} , {text_b}", (" No", " Yes"))
    assert find_choice_task("mrpc").metric == "f1"
    form = find_choice_task("snli").form("masked")
    assert form.words == (" Yes", " Maybe", " No")
    form = find_choice_task("dbpedia").form("masked")
    assert form.template == "{prompt} [ Category: {mask} ] {text}"
    form = find_choice_task("sst2").form("causal")
    assert form.template == "{prompt} . {text} . The sentiment is"
