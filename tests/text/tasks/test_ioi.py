from lmscope.text.tasks.catalog import make_examples


def test_the_answer_is_the_name_said_once(words_tokenizer):
    for one in make_examples("ioi", words_tokenizer, 80):
        assert one.prompt.count(one.answer) == 1
        assert one.prompt.count(one.wrong) == 2


def test_the_counterfactual_turns_the_answer_round(words_tokenizer):
    for one in make_examples("ioi", words_tokenizer, 80):
        assert one.counterfactual.count(one.answer) == 2
        assert one.counterfactual.count(one.wrong) == 1


def test_roles_name_what_stands_there(words_tokenizer):
    for one in make_examples("ioi", words_tokenizer, 80):
        tokens = words_tokenizer.encode(one.prompt, add_special_tokens=False)
        texts = {
            role: words_tokenizer.decode([tokens[i] for i in at]) for role, at in one.roles.items()
        }
        assert texts["io"] == one.answer
        assert texts["s1"] == texts["s2"] == one.wrong
        assert one.roles["s1"] < one.roles["s2"]
        assert one.roles["after_s1"][0] == one.roles["s1"][0] + 1
        assert (one.kind == "ABBA") == (one.roles["io"] < one.roles["s1"])


def test_both_orders_come(words_tokenizer):
    assert {one.kind for one in make_examples("ioi", words_tokenizer, 30)} == {"ABBA", "BABA"}
