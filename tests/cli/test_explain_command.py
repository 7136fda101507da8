"""`lmscope explain` as a person calls it; the work itself is tested with the job."""

import pytest

from lmscope.cli.main import main


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("explain", 2, "There is nothing to explain: name a run that built an atlas"),
        ("explain last", 1, "There is no run 'last'"),
        ("explain demo", 2, "use `lmscope demo`"),
        (
            "explain here --judge lmm --json",
            2,
            'Did you mean "llm"?',
        ),
        ("explain here", 1, "'here' has no atlas: make one with `lmscope atlas build`."),
        ("explain here --explainer llm", 2, "say which with --endpoint URL and --llm NAME"),
        ("explain here --endpoint http://localhost/v1", 2, "lacks 'endpoint.model'"),
        ("explain here --latents many", 2, "many"),
        ("explain here --threshold 3", 2, "'threshold'"),
        ("explain --resume x --latents 5", 2, "--resume goes on with the run's own recipe"),
    ],
)
def test_wrong_words_are_one_sentence(words, code, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert main(words.split()) == code
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
