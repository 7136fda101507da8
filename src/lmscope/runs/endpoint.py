"""Endpoint: questions to a language model behind a server, paid at most once and never above a cap."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar

from lmscope.core.errors import BudgetError, RecipeError, RunError
from lmscope.runs.chat import AnswerError, Chat, EndpointError, Reply
from lmscope.runs.endpoint_config import EndpointConfig
from lmscope.runs.journal import Journal
from lmscope.runs.json_answer import Answer, read_answer, schema_of

__all__ = ["Answer", "AnswerError", "Endpoint", "EndpointError", "Spent"]

A = TypeVar("A", bound=Answer)

_MESSAGE_TOKENS: Final = 64
"""Allowed for what a server's chat template puts around the messages."""
_LONGEST_RETURNED: Final = 4000
"""Characters of a wrong answer that are sent back."""


@dataclass(frozen=True)
class Spent:
    """What a run's questions have taken so far, over all its starts.

    Attributes:
        n_calls: Requests that the server took on.
        n_prompt_tokens: As the server counts them; where it does not say, bytes, which are more.
        n_answer_tokens: Likewise.
        cost: By the prices; None without them.
        n_reused: Answers of this start that came from the file.
    """

    n_calls: int
    n_prompt_tokens: int
    n_answer_tokens: int
    cost: float | None
    n_reused: int

    @property
    def n_tokens(self) -> int:
        """Of prompts and answers."""
        return self.n_prompt_tokens + self.n_answer_tokens


class Endpoint:
    """Asks a server's model for answers of a given form.

    Every answer is written to a file before it is used, by a hash of the request; the same question
    is never paid twice, so work that was stopped goes on at no cost. The file holds neither the
    questions nor the key. May be used by several threads at once.

    Args:
        config: Server, model, waits and caps.
        path: The file of answers, JSON lines, of one process at a time; made when needed.
        known: Files of earlier runs whose answers may be reused; what they took is not counted.
        wait: Called with seconds between tries.

    Raises:
        RecipeError: The variable that should hold the key is not set, or the key cannot be one.
        RunError: A file is not there, or a line of it is damaged.
    """

    def __init__(
        self,
        config: EndpointConfig,
        path: Path,
        *,
        known: Sequence[Path] = (),
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self.config = config
        self._chat = Chat(config, key=_key(config, os.environ), wait=wait)
        self._lock = threading.Lock()
        self._replies: dict[str, Reply] = {}
        self._pending = (0, 0, 0)  # calls, tokens of prompts and of answers under way
        for other in known:
            if not other.is_file():
                raise RunError(f"There is no file of answers '{other}': check the path.")
            self._learn(_rows(Journal(other)))
        path.parent.mkdir(parents=True, exist_ok=True)
        self._journal = Journal(path)
        self._journal.keep()
        rows = _rows(self._journal)
        self._learn(rows)
        self._n_calls = len(rows)
        self._n_prompt = sum(row["prompt_tokens"] for row in rows)
        self._n_answer = sum(row["answer_tokens"] for row in rows)
        self._n_reused = 0

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._journal.close()

    @property
    def spent(self) -> Spent:
        """What was spent so far."""
        with self._lock:
            cost = self._cost(self._n_prompt, self._n_answer)
            return Spent(self._n_calls, self._n_prompt, self._n_answer, cost, self._n_reused)

    def ask(
        self,
        instructions: str,
        material: str,
        form: type[A],
        check: Callable[[A], str | None] = lambda answer: None,
    ) -> A:
        """One answer; a wrong one is sent back with what is wrong, at most `n_corrections` times.

        Args:
            instructions: The system message: what to do.
            material: The user message: what to do it with.
            form: Class of the answer; its JSON schema is asked for.
            check: What is wrong with an answer of the right form, as a sentence; None: nothing.

        Raises:
            AnswerError: No answer could be used; other questions may still be asked.
            EndpointError: The server cannot be reached, refuses, or has no such model.
            BudgetError: The next request could exceed a cap; it is not made.
            RunError: The file of answers cannot be written.
        """
        schema = schema_of(form)
        told = (
            f"{instructions}\n\nAnswer with one JSON object of this JSON schema and nothing else: "
        )
        messages = [
            {"role": "system", "content": told + json.dumps(schema, separators=(",", ":"))},
            {"role": "user", "content": material},
        ]
        problem = ""
        for _ in range(1 + self.config.retries.n_corrections):
            reply = self._reply(self._chat.body(messages, form.__name__.strip("_"), schema))
            try:
                answer = read_answer(reply.content, form)
                problem = check(answer)
            except ValueError as error:
                problem = self._why_unusable(reply) or str(error)
            else:
                if problem is None:
                    return answer
            messages += _sent_back(reply, problem)
        raise AnswerError(
            f"'{self.config.model}' gave no answer that can be used in "
            f"{1 + self.config.retries.n_corrections} attempts; the last time: {problem}"
        )

    def _why_unusable(self, reply: Reply) -> str | None:
        """A reason that says more than what is wrong with the JSON."""
        if reply.refusal:
            return "The model refused."
        if reply.end == "length":
            return f"It was cut off at answer_tokens = {self.config.answer_tokens}; be shorter."
        return None if reply.content.strip() else "It was empty."

    def _reply(self, body: Mapping[str, Any]) -> Reply:
        request = json.dumps(body, sort_keys=True, ensure_ascii=False)
        key = hashlib.sha256(f"{self.config.base_url}\n{request}".encode()).hexdigest()
        with self._lock:
            if (reply := self._replies.get(key)) is not None:
                self._n_reused += 1
                return reply
        most = len(request.encode()) + _MESSAGE_TOKENS * len(body["messages"])
        number = 1
        while True:
            with self._reserved(most, self.config.answer_tokens):
                try:
                    found = self._chat.once(body)
                except KeyboardInterrupt:
                    self._write_lost(key, "stopped", most)
                    raise
                if isinstance(found, Reply):
                    return self._keep(key, found, most)
                if found.is_lost:
                    self._write_lost(key, found.reason, most)
            self._chat.pause(found, number, key)
            number += 1

    def _keep(self, key: str, reply: Reply, most: int) -> Reply:
        row = {"key": key, "content": reply.content, "refusal": reply.refusal, "end": reply.end}
        # A token has at least one byte: without a count the cap is reached too early, never too late.
        n_prompt = most if reply.prompt_tokens is None else reply.prompt_tokens
        n_answer = reply.answer_tokens
        if n_answer is None:
            n_answer = max(len(reply.content.encode()), 1)
        self._write(row, n_prompt, n_answer)
        with self._lock:
            self._replies[key] = reply
        return reply

    def _write_lost(self, key: str, reason: str, most: int) -> None:
        """Count a request without an answer at its worst: it may have been worked on."""
        self._write({"key": key, "lost": reason}, most, self.config.answer_tokens)

    def _write(self, row: dict[str, Any], n_prompt: int, n_answer: int) -> None:
        with self._lock:
            self._n_calls += 1
            self._n_prompt += n_prompt
            self._n_answer += n_answer
            self._journal.append({**row, "prompt_tokens": n_prompt, "answer_tokens": n_answer})
            self._journal.sync()

    def _learn(self, rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            if "content" in row:
                self._replies[row["key"]] = Reply(row["content"], row["refusal"], row["end"])

    def _cost(self, n_prompt: int, n_answer: int) -> float | None:
        prices = self.config.prices
        return prices and (n_prompt * prices.prompt + n_answer * prices.answer) / 1e6

    @contextmanager
    def _reserved(self, n_prompt: int, n_answer: int) -> Iterator[None]:
        """Within the block the worst case of a request counts as spent, also for other threads."""
        with self._lock:
            pending = (
                self._pending[0] + 1,
                self._pending[1] + n_prompt,
                self._pending[2] + n_answer,
            )
            self._check_caps(pending)
            self._pending = pending
        try:
            yield
        finally:
            with self._lock:
                calls, prompt, answer = self._pending
                self._pending = (calls - 1, prompt - n_prompt, answer - n_answer)

    def _check_caps(self, pending: tuple[int, int, int]) -> None:
        caps = self.config.caps
        n_prompt, n_answer = self._n_prompt + pending[1], self._n_answer + pending[2]
        for name, cap, spent, wanted in (
            ("n_calls", caps.n_calls, self._n_calls, self._n_calls + pending[0]),
            ("n_tokens", caps.n_tokens, self._n_prompt + self._n_answer, n_prompt + n_answer),
            (
                "cost",
                caps.cost,
                self._cost(self._n_prompt, self._n_answer),
                self._cost(n_prompt, n_answer),
            ),
        ):
            if cap is not None and wanted is not None and wanted > cap:
                raise BudgetError(
                    f"The next question could exceed caps.{name} = {cap:,}: {_amount(spent)} spent so far, "
                    f"up to {_amount(wanted)} with it. Raise the cap; the answers so far are kept "
                    "and cost nothing again."
                )


def _rows(journal: Journal) -> list[dict[str, Any]]:
    rows = journal.rows()
    for number, row in enumerate(rows, 1):
        if not ("key" in row and isinstance(row.get("prompt_tokens"), int)):
            raise RunError(
                f"Line {number} of '{journal.path}' is no answer of an endpoint: it is another file."
            )
    return rows


def _amount(value: int | float | None) -> str:
    return f"{value:,.4f}" if isinstance(value, float) else f"{value:,}"


def _key(config: EndpointConfig, environment: Mapping[str, str]) -> str | None:
    if config.key_env is None:
        return None
    key = environment.get(config.key_env, "").strip()
    if not key:
        raise RecipeError(
            f"The environment variable '{config.key_env}' is not set, which key_env names: set it to "
            f"the key for '{config.base_url}', or leave key_env out if the server asks for none."
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise RecipeError(
            f"The environment variable '{config.key_env}' holds no key: it has spaces or characters "
            "that a request cannot carry."
        )
    return key


def _sent_back(reply: Reply, problem: str) -> list[dict[str, str]]:
    return [
        {"role": "assistant", "content": reply.content[:_LONGEST_RETURNED] or "(nothing)"},
        {
            "role": "user",
            "content": f"That cannot be used: {problem} Answer the question again, with one JSON "
            "object of the schema and nothing else.",
        },
    ]
