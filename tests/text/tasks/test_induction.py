from lmscope.text.tasks.catalog import make_examples


def test_the_answer_followed_the_last_word_before(words_tokenizer):
    for one in make_examples("induction", words_tokenizer, 80):
        words = one.prompt.split(" ")[1:]
        last = words[-1]
        assert words.count(last) == 2
        first = words.index(last)
        assert f" {words[first + 1]}" == one.answer
        assert one.roles["first"] == (first,)
        assert one.roles["follower"] == (first + 1,)


def test_answer_and_rivals_are_said_once_each(words_tokenizer):
    for one in make_examples("induction", words_tokenizer, 80):
        words = [f" {word}" for word in one.prompt.split(" ")[1:]]
        for word in (one.answer, *one.wrongs):
            assert words.count(word) == 1


def test_in_the_counterfactual_the_wrong_word_followed(words_tokenizer):
    for one in make_examples("induction", words_tokenizer, 80):
        words = one.counterfactual.split(" ")[1:]
        first = words.index(words[-1])
        assert f" {words[first + 1]}" == one.wrong
        assert words[one.roles["rival"][0]] == one.answer.strip()
        assert sorted(words) == sorted(one.prompt.split(" ")[1:])
