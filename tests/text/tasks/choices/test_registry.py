import json

import pytest

from lmscope.core.errors import RecipeError
from lmscope.text.hub import HubAddress
from lmscope.text.tasks.choices.reading import render_reading
from lmscope.text.tasks.choices.registry import (
    downstream_entries,
    find_reading_entry,
    reading_entries,
    reading_task,
    upstream_entries,
)
from lmscope.text.tasks.choices.rendering import Special
from lmscope.text.tasks.choices.sources import read_examples

by_entry = pytest.mark.parametrize("entry", reading_entries(), ids=lambda entry: entry.name)
UNSEEN = {"chnsent", "tnews", "ocnli", "lcqmc", "drcd", "c3", "cote-bd"}
QUERIES = {
    *("意思判别", "情感分析", "主题识别", "关系判别", "指代判别", "主题判别"),
    *("问答判断", "打分", "阅读选择", "诗句理解", "近义词选择", "抽取式问答"),
}


def given_options(entry):
    return tuple("甲乙丙") if entry.name == "chip-ctc" else ()


def row_of(task):
    """A row of a file of one's own."""
    row = {field: f"文{field}" for field in task.fields}
    if not task.labels:
        return {**row, "options": [row["text"]]}
    if task.row_options:
        return {**row, "options": ["山高", "水长"], "label": "B"}
    return {**row, "label": task.labels[-1]}


def test_there_are_38_tasks_to_train_on_and_14_to_use_of_which_7_are_in_both():
    up = {entry.name for entry in upstream_entries()}
    down = {entry.name for entry in downstream_entries()}
    assert (len(up), len(down), len(reading_entries())) == (38, 14, 45)
    assert down - up == UNSEEN
    assert {entry.query for entry in reading_entries()} == QUERIES


@by_entry
def test_every_task_reads_its_own_files_and_its_spans_read_as_their_options(
    entry, tmp_path, words_encoder
):
    task = reading_task(entry.name, given_options(entry))
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row_of(task), ensure_ascii=False), encoding="utf-8")
    (example,) = read_examples(task, path, every_label=False).examples
    special = Special.of(words_encoder, is_causal=False)
    form = task.form("reading")
    assert form.template.startswith("{prompt}" + entry.query)
    (row,) = render_reading(form, [example], words_encoder, special, prompt=(20, 21)).rows
    ids = (*row.before, 20, 21, *row.after)
    spans = [words_encoder.decode(ids[first : last + 1]) for first, last in row.spans]
    assert spans == list(example.options or form.words)
    assert entry.query in words_encoder.decode(row.after)


@by_entry
def test_hub_names_are_addresses(entry):
    if entry.hub:
        assert HubAddress.parse(entry.hub).name.count("/") == 1


def test_a_text_without_an_answer_has_that_as_its_span(words_encoder, tmp_path):
    task = reading_task("dureader-checklist")
    path = tmp_path / "rows.jsonl"
    row = {"text": "文章", "text_b": "谁", "options": []}
    path.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
    found = read_examples(task, path)
    special = Special.of(words_encoder, is_causal=False)
    (one,) = render_reading(
        task.form("reading"), found.examples, words_encoder, special, prompt=(20,)
    ).rows
    ids = (*one.before, 20, *one.after)
    ((first, last),) = one.spans
    assert words_encoder.decode(ids[first : last + 1]) == "可能没有答案"


def test_names_and_options_that_are_not_there_are_one_sentence():
    with pytest.raises(RecipeError, match=r"called 'ocnl'\. Did you mean ocnli"):
        find_reading_entry("ocnl")
    with pytest.raises(RecipeError, match="The options of 'chip-ctc' do not come with lmscope"):
        reading_task("chip-ctc")
    with pytest.raises(RecipeError, match="Each row of 'c3' brings its own options"):
        reading_task("c3", ("a", "b"))
    assert reading_task("waimai", ("差", "好")).labels == ("差", "好")
