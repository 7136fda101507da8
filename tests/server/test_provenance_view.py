"""What the drawer of a page says to paste gives the numbers of the page."""

import contextlib
import io
import json
import shlex
from contextlib import closing

import pytest

from lmscope.cli.main import main
from lmscope.server.library.library import Library
from lmscope.server.views.feature import feature_page
from lmscope.server.views.lines import dictionary_line


def provenance_of(root, dictionary, latent):
    with closing(Library([root])) as library:
        entry = library.dictionary(dictionary)
        with library.atlas(dictionary) as atlas:
            return feature_page(
                atlas,
                latent,
                dictionary=dictionary_line(entry),
                atlas_id=entry.atlases[0].id,
                weights=entry.folder,
            )


def printed_by(snippet) -> dict:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        if snippet.language == "python":
            exec(compile(snippet.text, "pasted", "exec"), {})
        else:
            command, *words = shlex.split(snippet.text)
            assert command == "lmscope"
            assert main(words) == 0
    return json.loads(out.getvalue())


def as_shown(page) -> dict:
    """The page as `lmscope atlas show --json` names its numbers."""
    scores = page.sources[0].scores if page.sources else []
    return {
        "label": page.label or None,
        "known": page.known,
        "scores": [(one.scorer, one.estimate.value, one.estimate.n) for one in scores],
        "n_fired": page.n_fired,
        "density": page.density,
        "mean": page.mean,
        "max": page.max,
        "histogram": {"edges": page.activations.edges, "counts": page.activations.counts},
        "groups": [
            (
                group.name,
                group.low,
                group.high,
                group.share,
                [
                    (
                        one.context,
                        one.position,
                        [i for token in one.tokens for i in token.ids],
                        [token.value for token in one.tokens],
                    )
                    for one in group.passages
                ],
            )
            for group in page.groups
        ],
        "top_logits": [(one.id, one.text, one.value) for one in page.top_logits],
        "neighbours": [(one.latent, one.value) for one in page.neighbours],
        "coactive": [(one.latent, one.value) for one in page.coactive],
    }


def as_printed(found: dict) -> dict:
    return {
        **{name: found[name] for name in ("label", "known", "n_fired", "density", "mean", "max")},
        "scores": [(one["scorer"], one["value"], one["n"]) for one in found["scores"]],
        "histogram": found["histogram"],
        "groups": [
            (
                group["name"],
                group["low"],
                group["high"],
                group["share"],
                [
                    (one["context"], one["position"], one["ids"], one["values"])
                    for one in group["examples"]
                ],
            )
            for group in found["groups"]
        ],
        "top_logits": [(one["token"], one["text"], one["effect"]) for one in found["top_logits"]],
        "neighbours": [(one["latent"], one["cosine"]) for one in found["neighbours"]],
        "coactive": [(one["latent"], one["jaccard"]) for one in found["coactive"]],
    }


@pytest.mark.parametrize("kind", ["narrow", "hostile_id", "packed_id"])
@pytest.mark.parametrize("latent", [0, 5])
def test_the_command_and_the_python_give_the_numbers_of_the_page(
    small_library, tmp_path, monkeypatch, kind, latent
):
    monkeypatch.chdir(tmp_path)
    page = provenance_of(small_library.root, getattr(small_library, kind), latent)
    command, python, *_ = page.provenance.snippets
    assert (command.language, python.language) == ("shell", "python")
    shown = as_shown(page)
    assert shown["groups"]
    assert as_printed(printed_by(command)) == shown
    assert as_printed(printed_by(python)) == shown


def test_the_other_commands_can_be_pasted_too(small_library, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    page = provenance_of(small_library.root, small_library.narrow, 5)
    _, _, sql, near, steer = page.provenance.snippets
    for snippet in (sql, near):
        assert main(shlex.split(snippet.text)[1:]) == 0
        assert capsys.readouterr().out.strip()
    assert shlex.split(steer.text)[:2] == ["lmscope", "steer"]
    assert (
        len(provenance_of(small_library.root, small_library.packed_id, 5).provenance.snippets) == 4
    )


def test_paths_that_a_shell_would_break_are_quoted(own_library, tmp_path, monkeypatch):
    odd = own_library.root.rename(tmp_path / "my 'runs' $HOME \"x\" (é)")
    monkeypatch.chdir(tmp_path)
    page = provenance_of(odd, own_library.narrow, 3)
    for snippet in page.provenance.snippets[:2]:
        assert as_printed(printed_by(snippet)) == as_shown(page)


def test_facts_name_the_model_the_text_and_the_run(small_library):
    page = provenance_of(small_library.root, small_library.narrow, 3)
    facts = dict(page.provenance.facts)
    assert facts["dictionary"] == "resid_post-1-64-topk-4"
    assert facts["run"] == small_library.atlas.name
    assert facts["seed"] == "0"
    assert small_library.explained.name in facts["labels"]
    assert len(facts["dictionary digest"]) == len(facts["model weights"]) == 64
    hostile = dict(provenance_of(small_library.root, small_library.hostile_id, 3).provenance.facts)
    assert hostile["model"] == "<b>miniature</b>"
