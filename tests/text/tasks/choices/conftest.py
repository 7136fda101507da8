"""Tokenizers in which every word of the shipped tasks is one token, and small tasks."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from lmscope.models.miniature import character_tokenizer
from lmscope.text.tasks.choices.finding import find_choice_task, shipped_choice_tasks
from lmscope.text.tasks.choices.rendering import Special
from lmscope.text.tasks.choices.task import WORD_KINDS, ChoiceTask

TASK = {
    "name": "mood",
    "title": "how it was",
    "language": "en",
    "labels": ["bad", "good"],
    "forms": {
        "causal": {"template": "{prompt} . {text} . It is", "words": [" b", " g"]},
        "postfix": {
            "template": "Say: {text}\n{prompt}So:",
            "words": [" b", " g"],
            "instruction": "Was it good?\n",
        },
        "masked": {"template": "{prompt} . {text} . It was {mask} .", "words": ["b", "g"]},
        "reading": {
            "template": '{prompt}mood "{text}" Which? Options:{options}!',
            "words": [" bad", " good"],
            "separator": ",",
        },
    },
}


@pytest.fixture(scope="session")
def mood():
    """A task of two classes with a form of each kind."""
    return ChoiceTask.from_mapping(TASK)


@pytest.fixture
def make_task():
    """Makes `mood` with other values of the task."""
    return lambda **values: ChoiceTask.from_mapping({**TASK, **values}, "the test's task")


def learnt(pieces, **special):
    """Byte-level BPE in which each of some pieces of text is one token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=20_000,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        special_tokens=sorted(special.values()),
    )
    tokenizer.train_from_iterator(["\n".join(pieces)] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)


def all_words():
    tasks = [find_choice_task(name) for name in shipped_choice_tasks()]
    forms = [form for task in tasks for form in task.forms.values() if form.kind in WORD_KINDS]
    return sorted({word for form in forms for word in form.words})


@pytest.fixture(scope="session")
def words_tokenizer():
    """A causal one: `<bos>`, and every word of the shipped tasks is one token."""
    return learnt([*all_words(), " b", " g"], bos_token="<bos>")


@pytest.fixture(scope="session")
def words_encoder():
    """Likewise of an encoder: `<cls>`, `<sep>`, `<mask>`."""
    return learnt([*all_words(), " b"], cls_token="<cls>", sep_token="<sep>", mask_token="<mask>")


@pytest.fixture(scope="session")
def causal_characters():
    """One token a character, and what stands at the ends."""
    tokenizer = character_tokenizer()
    return tokenizer, Special.of(tokenizer, is_causal=True)


@pytest.fixture(scope="session")
def encoder_characters():
    """Likewise of an encoder."""
    tokenizer = character_tokenizer(encoder=True)
    return tokenizer, Special.of(tokenizer, is_causal=False)
