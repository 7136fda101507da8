import pytest

from lmscope.core.errors import RecipeError
from lmscope.text.tasks.choices.finding import find_choice_task
from lmscope.text.tasks.choices.template import Piece, pieces_of, split_at


def form(template, **values):
    return {"forms": {"causal": {"template": template, "words": [" b", " g"], **values}}}


def test_a_template_is_its_texts_and_places_in_order():
    assert pieces_of("a {{x}} {text}b{prompt}") == (
        Piece("a {", ""),
        Piece("x}", ""),
        Piece(" ", ""),
        Piece("", "text"),
        Piece("b", ""),
        Piece("", "prompt"),
    )


def test_split_at_a_place_that_is_absent_leaves_all_ahead():
    pieces = pieces_of("a{text}b")
    assert split_at(pieces, "mask") == (pieces, ())
    assert split_at(pieces, "text") == ((Piece("a", ""),), (Piece("b", ""),))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (form("{text} is"), r"'forms' of .* the template has {prompt} 0 times: write it once"),
        (form("{prompt}{prompt}{text} is"), "{prompt} 2 times"),
        (form("{prompt}{text}{mask}"), "{mask} 1 times and a causal form has it never"),
        (form("{prompt}{text} is", kind="masked"), "{mask} 0 times and a masked form has it once"),
        (form("{text}{prompt} is"), "a causal form has {prompt} ahead of all fields"),
        (
            form("{prompt}{text} is", kind="postfix"),
            "a postfix form has {prompt} behind all fields",
        ),
        (form("{prompt}{text} is "), "ends in white space"),
        (form("{prompt}{text is"), "a brace without a partner"),
        (form("{prompt}{text!r} is"), "a place that is no plain name"),
        (form("{prompt}{0} is"), "a place that is no plain name"),
        (form("{prompt}{tekst} is"), r"{tekst}, which is no field of it; it has text"),
        (form("{prompt} is"), "form 'causal' shows no field"),
        (form("{prompt}{text} is", words=[" b"]), "form 'causal' has 1 words for 2 labels"),
        (form("{prompt}{text} is", words=[" b", " b"]), "two classes have the same word"),
        (form("{prompt}{text} is", kind="reading"), "a reading form lists its options once"),
        (form("{prompt}{text} is", kind="loud"), "kind' of .* is wrong"),
        (form("{prompt}{text} is", option="{number}"), r"written with {word} and {option} alone"),
        (form("{prompt}{text} is", no_answer="none"), "does not hold its no_answer 'none'"),
        ({"forms": {}}, "it has no form"),
        ({"name": "My Task"}, "the name 'My Task' is not of small letters"),
        ({"labels": ["bad", "bad"]}, "it names a label twice"),
        ({"labels": ["bad"]}, "it has 1 labels"),
        ({"fields": ["body"]}, "name the text that may be cut 'text'"),
        (
            {"fields": ["text", "mask"]},
            "name the text that may be cut 'text', and none prompt, mask",
        ),
        ({"colour": "red"}, "'colour' is not an option of"),
        (
            {"row_options": True, "layouts": {"a": {"format": "table"}}},
            "layout 'a' and row_options",
        ),
        ({"layouts": {"a": {"format": "table", "labels": {"0": "worse"}}}}, "speaks of 'worse'"),
        ({"layouts": {"a": {"format": "table", "columns": {"body": "b"}}}}, "speaks of 'body'"),
    ],
)
def test_a_task_that_cannot_work_is_refused_in_one_sentence(make_task, values, said):
    with pytest.raises(RecipeError, match=said) as error:
        make_task(**values)
    assert "\n" not in str(error.value)


def test_a_form_is_of_the_kind_of_its_name_unless_it_says_another(make_task, mood):
    assert {name: form.kind for name, form in mood.forms.items()} == {
        name: name for name in ("causal", "postfix", "masked", "reading")
    }
    other = {"kind": "postfix", "template": "{text}{prompt} is", "words": ["b", "g"]}
    assert make_task(forms={"mine": other}).form("mine").kind == "postfix"
    with pytest.raises(RecipeError, match=r"lacks 'forms\.mine\.kind'"):
        make_task(forms={"mine": {"template": "{text}{prompt} is", "words": ["b", "g"]}})


def test_an_unknown_form_is_answered_with_near_ones(mood):
    with pytest.raises(RecipeError, match=r"Task 'mood' has no form 'mask'. Did you mean masked\?"):
        mood.form("mask")


def test_a_file_of_ones_own_is_a_task_named_after_it(tmp_path, mood):
    path = tmp_path / "mine.toml"
    path.write_text("\n".join(x for x in mood.to_toml().splitlines() if not x.startswith("name")))
    assert find_choice_task(path) == mood.model_copy(update={"name": "mine"})


def test_a_task_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(RecipeError, match=r"No choice task is called 'sst'; .*Did you mean sst2\?"):
        find_choice_task("sst")
    with pytest.raises(RecipeError, match=r"There is no task at '.*none\.toml'"):
        find_choice_task(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("labels = [")
    with pytest.raises(RecipeError, match="is not a TOML file"):
        find_choice_task(tmp_path / "bad.toml")
