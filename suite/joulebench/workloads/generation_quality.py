"""Quality of a language model that generates: bits per byte of a text, and answers to questions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joulebench.errors import InputError
from joulebench.workloads.base import Phase
from joulebench.workloads.generation_settings import Settings
from joulebench.workloads.questions import CountingModel, Questions
from joulebench.workloads.text_loss import encoded, first_token, read_halves, text_loss

OPTIONS = frozenset({"text", "questions", "questions_limit", "chat_template"})
ANSWER = "answer"


class Quality:
    """What a task asks of a model's quality: options `text` and `questions`, read once for every trial.

    Options:
        text: a file, half of it the validation split, half the test: `bits_per_byte`.
        questions: tasks of lm-evaluation-harness by name or YAML file: `accuracy`, for each of several tasks also
            `accuracy.TASK`, and `tokens_per_question`. Every second question is of the test split.
        questions_limit: of each task and split, at most.
        chat_template: ask in the tokenizer's chat format.
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        """Read the text and load the questions.

        Raises:
            InputError: an option that cannot be read.
        """
        self._halves = read_halves(options["text"]) if "text" in options else None
        self._chat = _flag(options)
        self._questions = (
            Questions(_names(options["questions"]), _limit(options)) if "questions" in options else None
        )
        self._model: Any = None
        self._tokenizer: Any = None
        self._settings = Settings()
        self._counting: CountingModel | None = None
        self.sems: dict[str, float] = {}

    @property
    def wanted(self) -> bool:
        """Whether anything is asked that needs the model's tokenizer."""
        return self._halves is not None or self._questions is not None

    def bind(self, model: Any, tokenizer: Any, settings: Settings) -> None:
        """Ask a built model."""
        self._model, self._tokenizer, self._settings = model, tokenizer, settings
        if self._questions is not None:
            self._counting = CountingModel(model, tokenizer, settings.batch_size)
            if settings.answer_tokens is not None:
                self._questions.limit_answers(settings.answer_tokens)

    def evaluate(self, split: str) -> dict[str, float]:
        """Metrics of the bound model on `validation` or `test`; of the validation split also `sems`."""
        metrics: dict[str, float] = {}
        sems: dict[str, float] = {}
        if self._halves is not None:
            text = self._halves[split]
            tokens = encoded(text, self._tokenizer)
            loss = text_loss(self._model, tokens, first_token(self._tokenizer), len(text.encode()))
            metrics["bits_per_byte"] = loss.bits_per_byte
            sems |= {} if loss.sem is None else {"bits_per_byte": loss.sem}
        if self._questions is not None and self._counting is not None:
            answers = self._questions.answer(self._counting, split, self._chat)
            metrics |= {"accuracy": answers.accuracy, "tokens_per_question": answers.tokens / answers.questions}
            if len(answers.by_task) > 1:
                metrics |= {f"accuracy.{task}": share for task, share in answers.by_task.items()}
            sems["accuracy"] = answers.sem
        if split == "validation":
            self.sems = {f"val_{name}": sem for name, sem in sems.items()}
        return metrics

    def phases(self) -> dict[str, Phase]:
        """Phase `answer`: `batch_size` questions a step, with the harness's own work on them."""
        if self._questions is None or self._counting is None:
            return {}
        size = self._settings.batch_size
        return {ANSWER: Phase(self._questions.steps(self._counting, size, self._chat), size, "answer", timed=True)}

    def close(self) -> None:
        """Let go of the model."""
        self._model = self._tokenizer = self._counting = None


def check_options(options: Mapping[str, Any]) -> None:
    """Check the options as far as they are known without the data of questions.

    Raises:
        InputError: one that cannot be used.
    """
    if "text" in options:
        read_halves(options["text"])
    if "questions" in options:
        _names(options["questions"])
    for name in ("questions_limit", "chat_template"):
        if name in options and "questions" not in options:
            raise InputError(f"options.{name}: needs options.questions")
    _limit(options)
    _flag(options)


def _names(given: object) -> list[str]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise InputError(
            f"options.questions: must be names of tasks of lm-evaluation-harness, or files (got {given!r})"
        )
    return names


def _limit(options: Mapping[str, Any]) -> int | None:
    limit = options.get("questions_limit")
    if limit is None or (isinstance(limit, int) and not isinstance(limit, bool) and limit > 0):
        return limit
    raise InputError(f"options.questions_limit: must be a whole number above 0 (got {limit!r})")


def _flag(options: Mapping[str, Any]) -> bool:
    chat = options.get("chat_template", False)
    if not isinstance(chat, bool):
        raise InputError(f"options.chat_template: must be true or false (got {chat!r})")
    return chat
