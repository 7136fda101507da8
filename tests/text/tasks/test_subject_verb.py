import pytest

from lmscope.core.errors import DataError
from lmscope.text.tasks.catalog import make_examples
from lmscope.text.tasks.words import NOUNS

PLURAL = {many: one for one, many in NOUNS}
SINGULAR = dict(NOUNS)


def number(noun):
    return "plural" if noun in PLURAL else "singular"


def noun_at(tokenizer, text, places):
    tokens = tokenizer.encode(text, add_special_tokens=False)
    return tokenizer.decode([tokens[i] for i in places]).strip()


def test_the_verb_agrees_with_the_subject(words_tokenizer):
    for one in make_examples("agreement", words_tokenizer, 80):
        subject = noun_at(words_tokenizer, one.prompt, one.roles["subject"])
        verb = {"singular": " is", "plural": " are"}[number(subject)]
        assert verb in one.answers
        assert verb not in one.wrongs


def test_the_counterfactual_changes_the_subject_alone(words_tokenizer):
    for one in make_examples("agreement", words_tokenizer, 80):
        subject = noun_at(words_tokenizer, one.prompt, one.roles["subject"])
        other = noun_at(words_tokenizer, one.counterfactual, one.roles["subject"])
        assert other == (PLURAL | SINGULAR)[subject]
        between = noun_at(words_tokenizer, one.counterfactual, one.roles["between"])
        assert between == noun_at(words_tokenizer, one.prompt, one.roles["between"])


def test_the_form_says_whether_the_noun_between_misleads(words_tokenizer):
    for one in make_examples("agreement", words_tokenizer, 80):
        nouns = [
            noun_at(words_tokenizer, one.prompt, one.roles[role]) for role in ("subject", "between")
        ]
        assert (one.kind == "same number") == (number(nouns[0]) == number(nouns[1]))


def test_no_verb_is_a_reason_to_refuse(bytes_tokenizer):
    with pytest.raises(DataError, match=r"one pair of verbs .* this tokenizer has 0 and"):
        make_examples("agreement", bytes_tokenizer, 1)
