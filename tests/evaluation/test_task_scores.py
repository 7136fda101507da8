import numpy as np
import pytest
import torch

from lmscope.core.errors import DataError, ModelError
from lmscope.evaluation.statistics import BootstrapOptions
from lmscope.evaluation.tasks import score_examples
from lmscope.models.miniature import miniature
from lmscope.text.tasks.task import Example

FEW = BootstrapOptions(n_resamples=200)


@pytest.fixture(scope="module")
def model():
    return miniature("llama")


def example(prompt, answers, wrongs, counterfactual, kind="a"):
    return Example(prompt, tuple(answers), tuple(wrongs), counterfactual, {}, kind)


EXAMPLES = [
    example("one two", "ab", "cde", "one twx"),
    example("a longer prompt than others", "x", "y", "a longer prompt than otherz", "b"),
    example("q", "!?", ".", "r"),
    *(example(f"number {i}", "n", "m", f"nimber {i}", "b") for i in range(9)),
]


def logits_after(model, text):
    """The last logits of a text that is read alone, so that no padding can matter."""
    with torch.no_grad():
        return model(model.batch(text)).logits[0, -1].double()


def token(model, char):
    return model.tokenizer(char, add_special_tokens=False)["input_ids"][0]


def test_figures_are_those_of_each_prompt_read_alone(model):
    found = score_examples(model, EXAMPLES, bootstrap=FEW)
    difference, pair, choice, top, mass, other = [], [], [], [], [], []
    for one in EXAMPLES:
        logits, changed = logits_after(model, one.prompt), logits_after(model, one.counterfactual)
        right, wrong = ([token(model, c) for c in texts] for texts in (one.answers, one.wrongs))
        difference.append(float(logits[right[0]] - logits[wrong[0]]))
        pair.append(difference[-1] > 0)
        choice.append(max(logits[right]) > max(logits[wrong]))
        top.append(int(logits.argmax()) in right)
        p = logits.softmax(-1)
        mass.append(float(p[right].sum() - p[wrong].sum()))
        other.append(float(changed[right[0]] - changed[wrong[0]]))
    assert found.n == len(EXAMPLES)
    assert found.logit_difference.value == pytest.approx(np.mean(difference), abs=1e-5)
    assert found.pair_accuracy.value == pytest.approx(np.mean(pair))
    assert found.choice_accuracy.value == pytest.approx(np.mean([bool(c) for c in choice]))
    assert found.top1_accuracy.value == pytest.approx(np.mean(top))
    assert found.probability_difference.value == pytest.approx(np.mean(mass), abs=1e-6)
    assert found.counterfactual_difference.value == pytest.approx(np.mean(other), abs=1e-5)


def test_chance_is_the_share_of_right_ones(model):
    found = score_examples(model, EXAMPLES[:3], bootstrap=FEW)
    assert found.choice_by_chance == pytest.approx((2 / 5 + 1 / 2 + 2 / 3) / 3)


def test_forms_are_told_apart(model):
    found = score_examples(model, EXAMPLES, bootstrap=FEW)
    assert [(one.kind, one.n) for one in found.kinds] == [("a", 2), ("b", 10)]
    alone = score_examples(model, [one for one in EXAMPLES if one.kind == "b"], bootstrap=FEW)
    assert found.kinds[1].logit_difference.value == pytest.approx(alone.logit_difference.value)


def test_an_interval_of_a_share_has_a_width_where_all_are_right(model):
    # Every prompt alike, and the better of the two tokens is called right: 8 of 8. By Wilson's formula the
    # lower end is n / (n + z^2) = 8 / (8 + 3.8415) = 0.6756.
    logits = logits_after(model, "one")
    right, wrong = (
        ("a", "b") if logits[token(model, "a")] > logits[token(model, "b")] else ("b", "a")
    )
    found = score_examples(model, [example("one", right, wrong, "two")] * 8, bootstrap=FEW)
    assert found.pair_accuracy.value == 1
    assert found.pair_accuracy.low == pytest.approx(0.6756, abs=1e-4)
    assert found.pair_accuracy.high == pytest.approx(1)


def test_a_model_without_a_next_token_is_refused():
    with pytest.raises(ModelError, match="predicts no next token"):
        score_examples(miniature("bert"), EXAMPLES)


def test_answers_of_another_tokenizer_are_refused(model):
    with pytest.raises(DataError, match="' Paris' after 'one' is not one token for this model"):
        score_examples(model, [example("one", (" Paris",), "b", "two")])


def test_a_prompt_beyond_the_positions_is_refused():
    small = miniature("gpt2", n_positions=6)
    with pytest.raises(ModelError, match=r"has 10 tokens, and 'miniature-gpt2' has 6 positions"):
        score_examples(small, [example("nine char", "a", "b", "nine chas")])


def test_no_prompt_is_refused(model):
    with pytest.raises(DataError, match="no prompt"):
        score_examples(model, [])
