import gzip
import json

import pytest
import zstandard

from lmscope.core.errors import DataError
from lmscope.text.tasks.choices.example import ChoiceExample
from lmscope.text.tasks.choices.finding import find_choice_task
from lmscope.text.tasks.choices.sources import read_examples

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LETTERS = ["A", "B", "C"]


def read(task, path, **options):
    return [(dict(e.fields), e.label) for e in read_examples(task, path, **options).examples]


def json_lines(*rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def test_a_label_first_file_is_read_in_its_encoding(tmp_path):
    path = tmp_path / "rt-polarity.all"
    # 0x85 is a character of Latin-1 that Python's splitlines takes for the end of a line.
    path.write_bytes(b"1 caf\xe9 and a\x85b \n\n0  dull . \n")
    assert read(find_choice_task("mr"), path) == [
        ({"text": "café and a\x85b"}, 1),
        ({"text": "dull ."}, 0),
    ]
    packed = tmp_path / "rt-polarity.all.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read(find_choice_task("mr"), packed) == read(find_choice_task("mr"), path)
    utf8 = tmp_path / "stsa.binary.dev"
    utf8.write_text("1 café\n0 no\n", encoding="utf-8")
    assert read(find_choice_task("sst2"), utf8)[0] == ({"text": "café"}, 1)


def test_a_table_without_header_has_numbered_columns_and_quoted_cells(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text('"3","He said ""no""","a, b"\n"1","Two\nlines","c"\n"2","t","d"\n"4","u","e"\n')
    assert read(find_choice_task("agnews"), path) == [
        ({"text": 'He said "no" a, b'}, 2),
        ({"text": "Two\nlines c"}, 0),
        ({"text": "t d"}, 1),
        ({"text": "u e"}, 3),
    ]


def test_a_table_with_header_may_have_quotation_marks_that_are_text(tmp_path):
    path = tmp_path / "msr_paraphrase_train.txt"
    header = "Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
    path.write_text(header + '1\t7\t8\t"So" it is\tIt is\n0\t7\t8\tYes\t"No\n', encoding="utf-8")
    assert read(find_choice_task("mrpc"), path) == [
        ({"text": '"So" it is', "text_b": "It is"}, 1),
        ({"text": "Yes", "text_b": '"No'}, 0),
    ]


def test_json_lines_have_columns_within_columns_and_lists(tmp_path):
    path = tmp_path / "train_0.json"
    target = {"span1_text": "树叶", "span2_text": "他"}
    rows = [{"text": "他走了。", "target": target, "label": label} for label in ("true", "false")]
    path.write_text(json_lines(*rows), encoding="utf-8")
    fields = {"text": "他走了。", "text_b": "他", "text_c": "树叶"}
    assert read(find_choice_task("cluewsc"), path) == [(fields, 1), (fields, 0)]
    rows = [{"abst": "a", "keyword": ["x", "y"], "label": str(i)} for i in range(2)]
    path.write_text(json_lines(*rows), encoding="utf-8")
    assert read(find_choice_task("csl"), path) == [
        ({"text": "a", "text_b": "x、y"}, i) for i in range(2)
    ]


def test_rows_bring_their_options(tmp_path):
    path = tmp_path / "dev_0.json"
    idioms = [f"成语{i}" for i in range(7)]
    rows = [{"content": f"c{i}", "candidates": idioms, "answer": i} for i in range(7)]
    path.write_text(json_lines(*rows), encoding="utf-8")
    found = read_examples(find_choice_task("chid"), path).examples
    assert found[3] == ChoiceExample({"text": "c3"}, 3, tuple(idioms))


def test_rows_that_nobody_labelled_or_wrote_are_left_out_and_counted(tmp_path):
    path = tmp_path / "snli_1.0_dev.jsonl"
    labels = ("neutral", "-", "entailment", "contradiction", "-", "neutral")
    rows = [{"sentence1": "a", "sentence2": "b", "gold_label": label} for label in labels]
    rows[-1]["sentence1"] = " "
    path.write_text(json_lines(*rows))
    found = read_examples(find_choice_task("snli"), path)
    assert [e.label for e in found.examples] == [1, 0, 2]
    assert (found.n_unlabelled, found.n_empty) == (2, 1)


@pytest.mark.parametrize("name", ["a.jsonl", "a.json.gz", "a.csv", "a.tsv", "a.tsv.zst"])
def test_ones_own_files_have_the_fields_as_columns(tmp_path, mood, name):
    path = tmp_path / name
    between = "\t" if ".tsv" in name else ","
    text = f'label{between}text{between}id\ngood{between}"so, so"{between}1\nbad{between}no{between}2\n'
    if ".json" in name:
        text = json_lines({"text": "so, so", "label": "good"}, {"text": "no", "label": "bad"})
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
    path.write_bytes(pack(text.encode()))
    assert read(mood, path) == [({"text": "so, so"}, 1), ({"text": "no"}, 0)]


def test_one_s_own_columns_may_be_asked_for_where_a_public_layout_fits(tmp_path):
    path = tmp_path / "a.jsonl"
    rows = [{"text": "a", "text_b": "b", "label": x} for x in ("entailment", "not_entailment")]
    path.write_text(json_lines(*rows))
    with pytest.raises(
        DataError, match=r"line 1 has no column '(premise|hypothesis)'; it has text"
    ):
        read(find_choice_task("rte"), path)
    assert len(read(find_choice_task("rte"), path, layout="own")) == 2


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.jsonl", '{"text": "x", "label": "god"}\n', r"a\.jsonl' line 1 has the label 'god', which task 'mood' does not know\. Did you mean good\?"),
        ("a.jsonl", '{"text": "x", "label": "good"}\n', r"has no example of 'bad', a label of task 'mood'"),
        ("a.jsonl", '{"body": "x", "label": "good"}\n', r"line 1 has no column 'text'; it has body, label"),
        ("a.jsonl", '{"text": "x", "label": "good"}\n{"text"\n', r"line 2 is not JSON"),
        ("a.jsonl", "[1]\n", r"line 1 holds list, not an object"),
        ("a.jsonl", "\n\n", r"holds no example: it has 0 rows"),
        ("a.csv", "text,label\n", r"holds no example: it has 0 rows"),
        ("a.csv", "text,label\na,good,1\n", r"line 2 has 3 cells and the header 2"),
        ("a.csv", 'text,label\na,good\n"b,bad\n', r"line 3 is no row of a table"),
        ("a.txt", "good x\n", r"fits no layout of task 'mood': give a \.jsonl, \.csv or \.tsv file with the columns text, label"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_one_sentence_with_its_line(tmp_path, mood, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(DataError, match=said) as error:
        read_examples(mood, path)
    assert "\n" not in str(error.value)


def test_a_test_set_may_lack_a_label_where_that_is_asked_for(tmp_path, mood):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "x", "label": "good"}\n')
    assert read(mood, path, every_label=False) == [({"text": "x"}, 1)]


def test_a_file_that_is_not_there_is_one_sentence(tmp_path, mood):
    (tmp_path / "train.csv").write_text("text,label\n")
    with pytest.raises(DataError, match=r"There is no '.*tran\.csv'\. Did you mean train\.csv\?"):
        read_examples(mood, tmp_path / "tran.csv")
    with pytest.raises(DataError, match=r"the folder '.*' does not exist"):
        read_examples(mood, tmp_path / "none" / "a.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="is a folder"):
        read_examples(mood, tmp_path / "folder.csv")


def test_a_damaged_file_is_one_sentence(tmp_path):
    whole = gzip.compress(b"1 good\n0 bad\n" * 100)
    for name in ("custrev.all.gz", "stsa.binary.dev.gz"):
        (tmp_path / name).write_bytes(whole[:-12])
        with pytest.raises(DataError, match="is damaged or cut off"):
            read_examples(find_choice_task("cr" if "cust" in name else "sst2"), tmp_path / name)


def test_two_layouts_that_fit_are_a_question(tmp_path):
    path = tmp_path / "test.csv"
    rows = [f'"{i}","x"\n' for i in range(1, 15)]
    path.write_text("".join(rows))
    task = find_choice_task("dbpedia")
    with pytest.raises(
        DataError, match="may be of layout release or dhim of task 'dbpedia': say which"
    ):
        read_examples(task, path)
    # In these files 1 is an artist and 2 a company, which are classes 2 and 0.
    assert [label for _, label in read(task, path, layout="dhim")][:2] == [2, 0]
    with pytest.raises(DataError, match=r"has no layout 'dhm'\. Did you mean dhim\?"):
        read_examples(task, path, layout="dhm")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"options": ["x", "y"], "label": "C"}, "line 1 has 2 options and its label is number 3"),
        (
            {"options": list("uvwx"), "label": "A"},
            "line 1 has 4 options, and task 'mood' has letters for 3",
        ),
    ],
)
def test_options_and_labels_of_a_row_must_agree(tmp_path, make_task, row, said):
    form = {"template": "{text}{options}{prompt} so", "words": LETTERS}
    task = make_task(labels=LETTERS, row_options=True, forms={"postfix": form})
    path = tmp_path / "a.jsonl"
    path.write_text(json_lines({"text": "t", **row}))
    with pytest.raises(DataError, match=said):
        read_examples(task, path)


@pytest.fixture
def hub(monkeypatch):
    """A hub of one dataset with three rows."""
    import datasets

    asked = []

    def load(name, config, *, split, revision, streaming):
        asked.append((name, config, split, revision))
        yield {"sentence": "fine", "label": 1, "idx": 0}
        yield {"sentence": "dull", "label": 0, "idx": 1}
        yield {"sentence": "?", "label": -1, "idx": 2}

    monkeypatch.setattr(datasets, "load_dataset", load)
    return asked


def test_a_dataset_of_the_hub_is_read_by_the_tasks_columns(hub):
    task = find_choice_task("sst2")
    found = read_examples(task, task.hub.test, revision=COMMIT)
    assert [(dict(e.fields), e.label) for e in found.examples] == [
        ({"text": "fine"}, 1),
        ({"text": "dull"}, 0),
    ]
    assert found.n_unlabelled == 1
    assert hub == [("nyu-mll/glue", "sst2", "validation", COMMIT)]


def test_a_hub_that_cannot_be_reached_or_is_not_known_is_one_sentence(monkeypatch, mood):
    import huggingface_hub

    def dataset_info(self, name, revision=None):
        raise ConnectionError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    with pytest.raises(DataError, match=r"cannot be read from the Hugging Face hub: no route\."):
        read_examples(find_choice_task("sst2"), "hf:nyu-mll/glue@sst2:train")
    with pytest.raises(DataError, match="Task 'mood' does not say how 'hf:a/b' is read"):
        read_examples(mood, "hf:a/b")
