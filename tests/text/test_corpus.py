"""Corpora: what can be opened, what is said about what cannot, and how documents are held out."""

import gzip
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import lmscope.text
from lmscope.core.errors import DataError
from lmscope.text.corpus import SAMPLE, Corpus
from lmscope.text.document import Document

ROWS = [
    {"text": "Erste Zeile: ä", "title": "One", "licence": "CC0", "group": "book", "id": "a"},
    {"text": ""},
    {"text": "two"},
]


def json_lines(rows=ROWS) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def texts(corpus: Corpus) -> list[str]:
    return [document.text for document in corpus.documents()]


@pytest.fixture
def folder(tmp_path) -> Path:
    """The same three rows in every format."""
    (tmp_path / "plain.jsonl").write_bytes(json_lines())
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(json_lines()))
    frames = [zstandard.compress(json_lines([row])) for row in ROWS]
    (tmp_path / "packed.jsonl.zst").write_bytes(b"".join(frames))
    names = sorted({name for row in ROWS for name in row})
    table = pyarrow.table({name: [row.get(name) for row in ROWS] for name in names})
    pyarrow.parquet.write_table(table, tmp_path / "table.parquet")
    return tmp_path


FORMATS = ["plain.jsonl", "packed.jsonl.gz", "packed.jsonl.zst", "table.parquet"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_documents(folder, name):
    first, second = Corpus.load(folder / name).documents()
    assert (first.id, first.text, first.title) == ("a", "Erste Zeile: ä", "One")
    assert (first.source, first.licence, first.group) == (name, "CC0", "book")
    assert (second.id, second.text, second.licence) == (f"{name}:3", "two", "unknown")


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_text_file_is_one_document_or_many(tmp_path, suffix):
    compress = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[suffix]
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(compress("\ufeffone é\n%%\ntwo\r\n\nthree\n%%\n".encode()))
    assert texts(Corpus.load(path)) == ["one é\n%%\ntwo\r\n\nthree\n%%\n"]
    parts = list(Corpus.load(path, separator="%%").documents())
    assert [p.text for p in parts] == ["one é\n", "two\r\n\nthree\n"]
    assert [p.id for p in parts] == [f"a.txt{suffix}:1", f"a.txt{suffix}:3"]


def test_a_folder_and_a_glob_are_read_in_the_order_of_names(tmp_path):
    for name in ("b.txt", "a.txt", "deep/c.txt", "notes.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert texts(Corpus.load(tmp_path)) == ["a.txt", "b.txt", "deep/c.txt"]
    assert texts(Corpus.load(tmp_path / "[ab].txt")) == ["a.txt", "b.txt"]


def test_another_column_can_hold_the_text(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"body": "x"}\n\n{"body": "y"}\n')
    assert texts(Corpus.load(path, column="body")) == ["x", "y"]


def test_lines_longer_than_a_chunk_are_read_whole(tmp_path):
    long = "é" * 1_500_000
    (tmp_path / "a.jsonl").write_bytes(json_lines([{"text": long}, {"text": "next"}]))
    assert texts(Corpus.load(tmp_path / "a.jsonl")) == [long, "next"]


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.txt.gz"])
def test_text_that_is_not_utf8_names_line_and_offset(tmp_path, name):
    data = b"\xef\xbb\xbf{}\nab\xe9\n".replace(b"{}", b'{"text": "x"}')
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    with pytest.raises(DataError, match=r"not UTF-8: byte 0xe9 at offset 19 \(line 2\).*iconv"):
        texts(Corpus.load(tmp_path / name))


@pytest.mark.parametrize("end", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "garbage"])
def test_a_damaged_compressed_file_is_an_error(tmp_path, end, damage):
    data = json_lines([{"text": f"line {i * 7919}"} for i in range(2000)])
    packed = gzip.compress(data) if end == ".gz" else zstandard.compress(data)
    path = tmp_path / f"a.jsonl{end}"
    path.write_bytes(packed[: len(packed) // 2] if damage == "cut" else b"garbage" + packed)
    with pytest.raises(DataError, match="damaged or cut off"):
        texts(Corpus.load(path))


def test_a_damaged_parquet_file_is_an_error(folder):
    path = folder / "table.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match="not a whole Parquet file"):
        texts(Corpus.load(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{'text': 1}", r"a.jsonl' line 2 is not JSON"),
        (b"[1]", r"line 2 holds list, not an object"),
        (b'{"txt": "x", "id": "1"}', r"a.jsonl:2 has no column 'text'; it has txt, id.*mean txt"),
        (b'{"text": 3}', r"a.jsonl:2: column 'text' holds int, not text"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, message):
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n' + line + b"\n")
    with pytest.raises(DataError, match=message):
        texts(Corpus.load(tmp_path / "a.jsonl"))


def test_a_missing_parquet_column_names_those_that_are_there(folder):
    with pytest.raises(DataError, match=r"no column 'titel'; it has .*Did you mean title"):
        texts(Corpus.load(folder / "table.parquet", column="titel"))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{}/plian.jsonl", r"There is no .*Did you mean plain\.jsonl"),
        ("{}/nowhere/a.txt", "the folder .*nowhere' does not exist"),
        ("{}/*.txt", "No file that can be read matches"),
        ("{}/empty", "holds no text that can be read"),
        ("{}/notes.pdf", "of no known format"),
        ("hf:", "is no dataset"),
        ("hf:a/b/c", "is no dataset"),
    ],
)
def test_a_source_that_cannot_be_opened_is_named(folder, source, message):
    (folder / "empty").mkdir()
    (folder / "notes.pdf").write_text("x")
    with pytest.raises(DataError, match=message):
        Corpus.load(source.format(folder))


@pytest.mark.parametrize("content", ["", "\n\n", '{"text": ""}\n'])
def test_an_empty_corpus_is_an_error(tmp_path, content):
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(DataError, match=r"a.jsonl' holds no text: give a source"):
        texts(Corpus.load(tmp_path / "a.jsonl"))


def test_options_that_would_have_no_effect_are_refused(tmp_path, decoder_tokenizer):
    from lmscope.text.chat import ChatTemplate

    with pytest.raises(DataError, match="has no revisions"):
        Corpus.load("sample", revision="main")
    with pytest.raises(DataError, match="a column or a reader"):
        Corpus.load("sample", column="x", reader=ChatTemplate(decoder_tokenizer))
    with pytest.raises(DataError, match="name two columns"):
        Corpus.load("hf:x:train:text", column="body")


def test_the_fingerprint_names_the_content_and_how_it_is_read(folder):
    def fingerprint(name, **options):
        return Corpus.load(folder / name, **options).fingerprint

    before = fingerprint("plain.jsonl")
    (folder / "copy.jsonl").write_bytes(json_lines())
    assert fingerprint("copy.jsonl") == before
    others = [fingerprint("plain.jsonl", column="title"), fingerprint("packed.jsonl.gz")]
    (folder / "plain.jsonl").write_bytes(json_lines(ROWS[::-1]))
    others.append(fingerprint("plain.jsonl"))
    assert len({before, *others}) == 4


def test_the_fingerprint_of_texts_and_of_splits_tells_them_apart():
    corpus = Corpus.from_texts(["a", "b"])
    sides = [c.fingerprint for s in (0, 1) for f in (0.1, 0.2) for c in corpus.split(f, s)]
    all_of_them = [corpus.fingerprint, Corpus.from_texts(["ab"]).fingerprint, *sides]
    assert len(set(all_of_them)) == len(all_of_them)
    assert Corpus.from_texts(["a", "b"]).fingerprint == corpus.fingerprint


def grouped(groups: list[int]) -> Corpus:
    rows = [{"text": f"text {i}", "group": f"group {g}"} for i, g in enumerate(groups)]
    from lmscope.text.rows import TextColumn

    return Corpus.from_documents(
        [TextColumn().document(r, str(i), "m") for i, r in enumerate(rows)]
    )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 39), max_size=20), st.integers(0, 3), st.floats(0.3, 0.7))
def test_a_split_shares_out_whole_groups(groups, seed, fraction):
    corpus = grouped([*groups, *range(40)])
    train, held_out = (list(side.documents()) for side in corpus.split(fraction, seed))
    assert not {d.group for d in train} & {d.group for d in held_out}
    assert sorted(d.id for d in train + held_out) == sorted(d.id for d in corpus.documents())


def test_a_document_stays_on_its_side_when_the_corpus_grows():
    small, large = (
        [d.group for d in c.split(0.3, 0)[1].documents()]
        for c in (grouped([*range(50)]), grouped([*range(500)]))
    )
    assert small == [group for group in large if group in {f"group {i}" for i in range(50)}]
    assert 0.2 < len(large) / 500 < 0.4


def test_seeds_hold_out_different_documents():
    corpus = grouped([*range(100)])
    first, second = (texts(corpus.split(0.3, seed)[1]) for seed in (0, 1))
    assert first != second


def test_equal_texts_are_never_on_both_sides():
    corpus = Corpus.from_texts([f"text {i % 50}" for i in range(100)])
    train, held_out = (set(texts(side)) for side in corpus.split(0.5, 0))
    assert not train & held_out


def test_a_side_without_documents_is_an_error():
    train, held_out = Corpus.from_texts(["all of it"], name="book").split(0.01, 0)
    assert texts(train) == ["all of it"]
    with pytest.raises(DataError, match=r"'book \(held out\)' holds no text: no group of 'book'"):
        texts(held_out)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5])
def test_a_fraction_outside_0_to_1_is_an_error(fraction):
    with pytest.raises(DataError, match="between 0 and 1"):
        Corpus.from_texts(["a"]).split(fraction, 0)


@pytest.fixture(scope="module")
def sample() -> list[Document]:
    return list(Corpus.load("sample").documents())


def test_the_sample_is_large_and_its_documents_whole(sample):
    documents = sample
    assert sum(len(d.text.encode()) for d in documents) >= 12_000_000
    assert SAMPLE.stat().st_size <= 4_500_000
    assert len({d.id for d in documents}) == len(documents) >= 120
    assert {d.licence for d in documents} == {"public domain", "CC BY 4.0"}
    assert all(len(d.text) > 500 and d.text == d.text.strip() for d in documents)


def test_the_licence_file_names_every_work_of_the_sample(sample):
    licence = (Path(lmscope.text.__file__).parent / "sample" / "LICENSE.md").read_text()
    for document in sample:
        if document.licence == "public domain":
            author, _, title = document.group.partition(": ")
            assert f"| {title} | {author} (died" in licence
    assert "Creative Commons Attribution 4.0" in licence
    assert "Access for free at https://openstax.org/" in licence


def test_a_held_out_tenth_of_the_sample_is_varied_and_about_a_tenth(sample):
    train, held_out = Corpus.from_documents(sample).split(0.1, 0)
    sizes = [sum(len(d.text) for d in side.documents()) for side in (train, held_out)]
    assert 0.05 < sizes[1] / sum(sizes) < 0.2
    assert len({d.group for d in held_out.documents()}) >= 10
