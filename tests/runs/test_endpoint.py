import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from lmscope.core.errors import BudgetError, RecipeError, RunError
from lmscope.runs.endpoint import Answer, AnswerError, Endpoint, EndpointError
from lmscope.runs.endpoint_config import EndpointConfig

KEY = "sk-very-secret-0123456789"


class Word(Answer):
    word: str


def saying(word: str) -> str:
    return json.dumps({"word": word})


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def open_endpoint(chat_server, tmp_path, waits):
    """`open_endpoint(**options)`: an endpoint that notes waits in place of waiting."""
    opened = []

    def open_endpoint(known=(), file="answers.jsonl", **options) -> Endpoint:
        values = {"base_url": chat_server.url, "model": "tiny", **options}
        config = EndpointConfig.from_mapping(values)
        opened.append(Endpoint(config, tmp_path / file, known=known, wait=waits.append))
        return opened[-1]

    yield open_endpoint
    for endpoint in opened:
        endpoint.close()


def ask(endpoint: Endpoint, question: str = "Which?") -> str:
    return endpoint.ask("Say a word.", question, Word).word


def test_a_question_is_sent_as_the_protocol_wants_it(open_endpoint, chat_server, monkeypatch):
    monkeypatch.setenv("MY_KEY", KEY)
    chat_server.next.append(saying("blue"))
    endpoint = open_endpoint(key_env="MY_KEY", options={"temperature": 0, "seed": 3})
    assert ask(endpoint) == "blue"
    ((path, headers, body),) = chat_server.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    system, user = body.pop("messages")
    assert (system["role"], user) == ("system", {"role": "user", "content": "Which?"})
    assert system["content"].startswith("Say a word.")
    assert '"word"' in system["content"]
    schema = body.pop("response_format")["json_schema"]
    assert (schema["strict"], schema["schema"]["required"]) == (True, ["word"])
    assert body == {"model": "tiny", "max_tokens": 1024, "temperature": 0, "seed": 3}


@pytest.mark.parametrize(
    ("answer_format", "sent"), [("json_object", {"type": "json_object"}), ("text", None)]
)
def test_a_server_without_schemas_is_asked_otherwise(
    open_endpoint, chat_server, answer_format, sent
):
    chat_server.next.append(saying("blue"))
    ask(open_endpoint(answer_format=answer_format, answer_tokens_field="max_completion_tokens"))
    body = chat_server.requests[0][2]
    assert body.get("response_format") == sent
    assert (body.get("max_tokens"), body["max_completion_tokens"]) == (None, 1024)


def test_the_same_question_is_paid_once_also_after_a_restart(open_endpoint, chat_server):
    chat_server.next.extend([saying("one"), saying("two")])
    first = open_endpoint()
    assert [ask(first, "a"), ask(first, "a"), ask(first, "b")] == ["one", "one", "two"]
    spent = first.spent
    assert (spent.n_calls, spent.n_prompt_tokens, spent.n_answer_tokens) == (2, 200, 20)
    assert (spent.n_reused, spent.cost) == (1, None)
    first.close()
    again = open_endpoint(prices={"prompt": 1.0, "answer": 10.0})
    assert [ask(again, "b"), ask(again, "a")] == ["two", "one"]
    assert len(chat_server.requests) == 2
    # 200 prompt tokens at 1 and 20 answer tokens at 10 for a million
    assert again.spent.cost == pytest.approx(0.0004)
    assert (again.spent.n_calls, again.spent.n_tokens, again.spent.n_reused) == (2, 220, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"options": {"temperature": 1}},
        {"answer_tokens": 7},
        {"answer_format": "text"},
    ],
)
def test_another_model_or_setting_is_another_question(open_endpoint, chat_server, change):
    chat_server.next.extend([saying("one"), saying("two")])
    assert ask(open_endpoint()) == "one"
    assert ask(open_endpoint(**change)) == "two"


def test_answers_of_an_earlier_run_are_reused_and_not_counted(open_endpoint, chat_server, tmp_path):
    chat_server.next.append(saying("one"))
    with open_endpoint() as first:
        ask(first)
    again = open_endpoint(
        known=[tmp_path / "answers.jsonl"], file="new/answers.jsonl", caps={"n_calls": 0}
    )
    assert ask(again) == "one"
    assert (again.spent.n_calls, again.spent.n_reused) == (0, 1)
    with pytest.raises(RunError, match="There is no file of answers"):
        open_endpoint(known=[tmp_path / "absent.jsonl"])


def test_a_file_that_was_cut_off_goes_on_and_one_of_another_kind_is_refused(
    open_endpoint, chat_server, tmp_path
):
    chat_server.next.extend([saying("one"), saying("two")])
    with open_endpoint() as endpoint:
        ask(endpoint, "a")
        ask(endpoint, "b")
    path = tmp_path / "answers.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    chat_server.next.append(saying("two again"))
    with open_endpoint() as endpoint:
        assert [ask(endpoint, "a"), ask(endpoint, "b")] == ["one", "two again"]
    assert [json.loads(line)["content"] for line in path.read_text().splitlines()] == [
        saying("one"),
        saying("two again"),
    ]
    path.write_text('{"step": 1}\n')
    with pytest.raises(RunError, match=r"Line 1 of '.*' is no answer of an endpoint"):
        open_endpoint()
    path.write_text("half\n" + whole.decode())
    with pytest.raises(RunError, match=r"Line 1 of .* is damaged"):
        open_endpoint()


def test_neither_key_nor_questions_are_written(open_endpoint, chat_server, monkeypatch, tmp_path):
    monkeypatch.setenv("MY_KEY", KEY)
    endpoint = open_endpoint(key_env="MY_KEY", retries={"n_tries": 1})
    chat_server.next.append(saying("blue"))
    ask(endpoint, "a private text")
    error = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}\x1b[31m\n."}})
    chat_server.next.append((401, {}, error.encode()))
    with pytest.raises(EndpointError) as caught:
        ask(endpoint, "another")
    assert str(caught.value) == (
        f"The endpoint '{chat_server.url}' does not accept the key in 'MY_KEY' "
        '(status 401: "Incorrect API key provided: (key) [31m .").'
    )
    written = (tmp_path / "answers.jsonl").read_text()
    assert KEY not in written + repr(endpoint.config) + repr(vars(endpoint.config))
    assert "private" not in written


def test_a_limited_rate_is_waited_out_as_the_server_asks(open_endpoint, chat_server, waits):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    chat_server.next.extend(
        [
            (429, {"Retry-After": "7"}, b"slow down"),
            (429, {"retry-after-ms": "1500", "Retry-After": "2"}, b""),
            (503, {"Retry-After": soon}, b""),
            (429, {"Retry-After": "whenever"}, b""),
            (500, {}, b""),
            saying("blue"),
        ]
    )
    endpoint = open_endpoint()
    assert ask(endpoint) == "blue"
    assert waits[:2] == [7, 1.5]
    assert 20 < waits[2] <= 30
    # Doubled from 1 s, times 0.5 to 1: the fourth wait is 4 to 8 s, the fifth 8 to 16.
    assert 4 <= waits[3] <= 8 <= waits[4] <= 16
    assert endpoint.spent.n_calls == 1


def test_a_rate_that_stays_limited_ends_in_one_sentence(open_endpoint, chat_server, waits):
    chat_server.answer = lambda body: (429, {}, b'{"error": {"message": "too many"}}')
    with pytest.raises(EndpointError) as caught:
        ask(open_endpoint(retries={"n_tries": 3, "longest_wait_s": 1.5}))
    assert str(caught.value) == (
        f"The endpoint '{chat_server.url}' still turns requests away after 3 tries "
        '(status 429: "too many"): start again later; the answers so far are kept.'
    )
    assert len(waits) == 2
    assert max(waits) <= 1.5


def test_a_wait_beyond_the_longest_ends_at_once(open_endpoint, chat_server, waits):
    chat_server.answer = lambda body: (429, {"Retry-After": "3600"}, b"")
    with pytest.raises(
        EndpointError, match=r"asks to wait 3,600 s \(status 429\): start again later"
    ):
        ask(open_endpoint())
    assert waits == []
    assert len(chat_server.requests) == 1


def test_a_server_that_is_down_ends_in_one_sentence_and_keeps_what_was_answered(
    open_endpoint, chat_server, waits
):
    chat_server.next.append(saying("blue"))
    endpoint = open_endpoint()
    assert ask(endpoint, "a") == "blue"
    chat_server.httpd.shutdown()
    chat_server.httpd.server_close()
    with pytest.raises(EndpointError) as caught:
        ask(endpoint, "b")
    assert str(caught.value) == (
        f"The endpoint '{chat_server.url}' cannot be reached after 6 tries (Connection refused): start "
        "the server or correct base_url, and start again; the answers so far are kept."
    )
    assert len(waits) == 5
    assert ask(endpoint, "a") == "blue"
    assert endpoint.spent.n_calls == 1


def test_a_request_without_an_answer_counts_at_its_worst(open_endpoint, chat_server):
    def never():
        chat_server.released.wait(30)
        return 500, {}, b""

    chat_server.next.extend([never, saying("blue")])
    endpoint = open_endpoint(timeout_s=0.3, answer_tokens=50)
    assert ask(endpoint) == "blue"
    chat_server.released.set()
    assert endpoint.spent.n_calls == 2
    assert endpoint.spent.n_answer_tokens == 50 + 10
    # The lost prompt is counted by its bytes, which are more than its tokens.
    assert endpoint.spent.n_prompt_tokens > 100 + len(json.dumps(chat_server.requests[0][2]))
    endpoint.close()
    assert open_endpoint(timeout_s=0.3, answer_tokens=50).spent.n_calls == 2


def test_a_request_that_is_stopped_counts_at_its_worst_too(open_endpoint, chat_server):
    def stopped():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return chat_server.completion(saying("blue"))

    chat_server.next.append(stopped)
    endpoint = open_endpoint(answer_tokens=50)
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(endpoint)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (endpoint.spent.n_calls, endpoint.spent.n_answer_tokens) == (1, 50)


def test_an_answer_that_breaks_off_is_asked_for_again(open_endpoint, chat_server):
    status, _, body = chat_server.completion(saying("blue"))
    chat_server.next.extend([(status, {"Transfer-Encoding": "chunked"}, body), saying("red")])
    assert ask(open_endpoint()) == "red"


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ((200, {}, b"<html>Welcome</html>"), 'gives no chat completion but "<html>Welcome</html>"'),
        ((200, {}, b'{"choices": []}'), "gives no chat completion"),
        ((200, {}, b'{"choices": [{"message": "blue"}]}'), "gives no chat completion"),
        (
            (400, {}, b"no response_format"),
            'refuses the request \\(status 400: "no response_format"\\)',
        ),
        ((302, {"Location": "/v2"}, b""), "points to another address"),
        ((307, {"Location": "/v2"}, b""), "points to another address"),
        ((402, {}, b""), "has no credit left"),
        ((429, {}, b'{"error": {"code": "insufficient_quota"}}'), "has no credit left"),
        ((403, {}, b""), "does not accept requests without a key: name its variable in key_env"),
    ],
)
def test_a_refusal_for_good_is_not_tried_again(open_endpoint, chat_server, sent, sentence):
    chat_server.answer = lambda body: sent
    with pytest.raises(EndpointError, match=sentence):
        ask(open_endpoint())
    assert len(chat_server.requests) == 1


def test_an_error_within_a_good_status_is_an_error(open_endpoint, chat_server, waits):
    chat_server.next.extend([(200, {}, b'{"error": {"code": 429}}'), saying("blue")])
    assert ask(open_endpoint()) == "blue"
    assert len(waits) == 1


def test_a_model_that_is_not_there_is_answered_with_near_names(open_endpoint, chat_server):
    chat_server.next.append((404, {}, b'{"error": {"message": "no such model"}}'))
    chat_server.next.append((200, {}, b'{"data": [{"id": "tiny-2"}, {"id": "large"}, 3]}'))
    with pytest.raises(EndpointError) as caught:
        ask(open_endpoint())
    assert str(caught.value) == (
        f"The endpoint '{chat_server.url}' does not know the model 'tiny', or base_url is wrong "
        '(status 404: "no such model"). Did you mean tiny-2?'
    )
    assert [path for path, _, _ in chat_server.requests] == ["/v1/chat/completions", "/v1/models"]


def test_a_wrong_answer_is_sent_back_with_what_is_wrong(open_endpoint, chat_server):
    chat_server.next.extend(["no idea", '{"wurd": "blue"}', f"```json\n{saying('blue')}\n```"])
    endpoint = open_endpoint()
    assert ask(endpoint) == "blue"
    messages = chat_server.requests[-1][2]["messages"]
    assert [m["role"] for m in messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert messages[2]["content"] == "no idea"
    assert "It holds no JSON object." in messages[3]["content"]
    assert "'word': Field required." in messages[5]["content"]
    # Again: the wrong answers are replayed as well, and nothing is sent.
    assert ask(endpoint) == "blue"
    assert len(chat_server.requests) == 3


@pytest.mark.parametrize(
    ("content", "end", "message", "why"),
    [
        ("no idea", "stop", {}, "It holds no JSON object."),
        ('{"wor', "length", {}, "It was cut off at answer_tokens = 1024; be shorter."),
        (None, "stop", {"refusal": "I must not."}, "The model refused."),
        ("", "stop", {}, "It was empty."),
        (saying("green"), "stop", {}, "Not green."),
    ],
)
def test_an_answer_that_stays_wrong_fails_for_this_question_only(
    open_endpoint, chat_server, content, end, message, why
):
    chat_server.answer = lambda body: chat_server.completion(content, end, **message)
    endpoint = open_endpoint()

    def check(answer):
        return "Not green." if answer.word == "green" else None

    with pytest.raises(AnswerError) as caught:
        endpoint.ask("Say a word.", "Which?", Word, check)
    assert str(caught.value) == (
        f"'tiny' gave no answer that can be used in 3 attempts; the last time: {why}"
    )
    chat_server.answer = lambda body: saying("blue")
    assert ask(endpoint, "And now?") == "blue"


def test_content_in_parts_is_one_text(open_endpoint, chat_server):
    parts = [{"type": "text", "text": '{"word": '}, {"type": "text", "text": '"blue"}'}]
    chat_server.next.append(chat_server.completion(parts))
    assert ask(open_endpoint()) == "blue"


@pytest.mark.parametrize(
    ("caps", "name"),
    [({"n_calls": 2}, "n_calls = 2"), ({"n_tokens": 1500}, "n_tokens"), ({"cost": 0.002}, "cost")],
)
def test_no_cap_is_ever_exceeded_and_what_was_answered_stays(
    open_endpoint, chat_server, caps, name
):
    chat_server.answer = lambda body: saying(body["messages"][1]["content"])
    options = {"answer_tokens": 20, "prices": {"prompt": 1.0, "answer": 2.0}, "caps": caps}
    endpoint = open_endpoint(**options)
    answered = []
    with pytest.raises(BudgetError, match=f"The next question could exceed caps.{name}") as caught:
        answered.extend(ask(endpoint, str(i)) for i in range(100))
    assert str(caught.value).endswith(
        "Raise the cap; the answers so far are kept and cost nothing again."
    )
    spent = endpoint.spent
    n = spent.n_calls
    assert 2 <= n == len(chat_server.requests) < 20
    assert n <= caps.get("n_calls", 99)
    assert spent.n_tokens <= caps.get("n_tokens", 1e9)
    assert spent.cost <= caps.get("cost", 1e9)
    endpoint.close()
    again = open_endpoint(**options)
    assert [ask(again, str(i)) for i in range(n)] == [str(i) for i in range(n)]
    with pytest.raises(BudgetError):
        ask(again, "new")
    assert len(chat_server.requests) == n


def test_without_counts_by_the_server_bytes_stand_for_tokens(open_endpoint, chat_server):
    chat_server.usage = None
    chat_server.next.append(saying("blue"))
    endpoint = open_endpoint()
    ask(endpoint)
    assert endpoint.spent.n_answer_tokens == len(saying("blue"))
    assert endpoint.spent.n_prompt_tokens >= len(json.dumps(chat_server.requests[0][2]["messages"]))


def test_threads_share_one_endpoint_and_its_caps(open_endpoint, chat_server, tmp_path):
    chat_server.answer = lambda body: saying(body["messages"][1]["content"])
    endpoint = open_endpoint(caps={"n_calls": 20})

    def asked(i):
        try:
            return ask(endpoint, str(i)) == str(i)
        except BudgetError:
            return None

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(asked, range(40)))
    assert found.count(False) == 0
    assert found.count(True) == len(chat_server.requests) == endpoint.spent.n_calls <= 20
    assert found.count(True) >= 20 - 8
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len({row["key"] for row in rows}) == len(rows) == endpoint.spent.n_calls


@pytest.mark.parametrize("value", [None, "", "  ", "two words", "schlüssel"])
def test_a_key_that_is_not_there_is_named_before_anything_is_sent(
    open_endpoint, monkeypatch, value
):
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(RecipeError, match="environment variable 'MY_KEY'") as caught:
        open_endpoint(key_env="MY_KEY")
    assert "schl" not in str(caught.value)


def test_a_proxy_is_never_asked_for_a_server_on_this_machine(
    open_endpoint, chat_server, monkeypatch
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    chat_server.next.append(saying("blue"))
    assert ask(open_endpoint(retries={"n_tries": 1})) == "blue"
