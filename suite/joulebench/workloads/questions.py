"""Questions with known answers, by lm-evaluation-harness: what a language model gets right, and its work on them.

Tasks, prompts, scoring and the model's adapter are the harness's own, run on the model that joulebench built.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from functools import cache
from itertools import cycle, islice
from typing import Any

from joulebench import extras
from joulebench.errors import InputError, described
from joulebench.stats.estimate import share_sem
from joulebench.workloads.base import InfeasibleError

#: Every second question is of the validation split, the others are of the test split.
_FIRST = {"validation": 0, "test": 1}


@dataclass(frozen=True)
class Answers:
    """How many questions of a split were answered right, and the tokens that it took."""

    correct: float  # of a metric between 0 and 1, its sum
    questions: int
    by_task: Mapping[str, float]  # share of correct answers, by task
    tokens: int  # of prompts and answers

    @property
    def accuracy(self) -> float:
        return self.correct / self.questions

    @property
    def sem(self) -> float:
        """Standard error of the accuracy over questions of this kind."""
        return share_sem(self.correct, self.questions)


class Questions:
    """Tasks of the harness, by the names that it knows or as YAML files, with at most `limit` questions a split."""

    def __init__(self, names: Sequence[str], limit: int | None = None) -> None:
        """Load tasks and their data.

        Raises:
            InputError: no such task, it cannot be loaded, or has no two questions.
        """
        self._manager = _manager(files_alone=all(name.endswith((".yaml", ".yml")) for name in names))
        try:
            with redirect_stderr(io.StringIO()):  # progress bars
                loaded = self._manager.load(list(names))["tasks"]
                self._tasks: dict[str, Any] = dict(loaded)
                counts = {name: len(task.eval_docs) for name, task in self._tasks.items()}
        except KeyError as error:
            raise InputError(f"options.questions: {error.args[0]}") from None
        except Exception as error:  # data sets raise what they like
            raise InputError(
                f"options.questions: {', '.join(names)}: cannot be loaded: {described(error)}"
            ) from None
        for name, n in counts.items():
            if n < 2:
                raise InputError(f"options.questions: {name}: has {n} questions; one a split are the least")
        self._chosen = {
            split: {name: list(range(first, n, 2))[:limit] for name, n in counts.items()}
            for split, first in _FIRST.items()
        }

    def limit_answers(self, tokens: int) -> None:
        """Let written answers take at most `tokens` tokens."""
        for task in self._tasks.values():
            if task.get_config("output_type") == "generate_until":
                task.set_config(key="generation_kwargs", value={"max_gen_toks": tokens}, update=True)

    def answer(self, model: CountingModel, split: str, chat: bool) -> Answers:
        """Answer all questions of a split.

        Raises:
            InputError: a task whose first metric is no share of right answers.
        """
        model.tokens = 0
        with redirect_stderr(io.StringIO()):
            found = _harness().simple_evaluate(
                model=model.adapter,
                tasks=list(self._tasks.values()),
                task_manager=self._manager,
                samples=self._chosen[split],
                bootstrap_iters=0,
                log_samples=True,
                apply_chat_template=chat,
                fewshot_as_multiturn=chat,
            )["samples"]
        scores = {name: [_right(name, sample) for sample in _first_filter(found[name])] for name in self._tasks}
        every = [score for each in scores.values() for score in each]
        by_task = {name: math.fsum(each) / len(each) for name, each in scores.items()}
        return Answers(math.fsum(every), len(every), by_task, model.tokens)

    def steps(self, model: CountingModel, size: int, chat: bool) -> Callable[[], None]:
        """A step that answers the next `size` questions of the validation split, in turn.

        Raises:
            InfeasibleError: there are fewer.
        """
        requests: list[list[Any]] = []
        for name, task in self._tasks.items():
            template = model.adapter.apply_chat_template if chat else None
            with redirect_stderr(io.StringIO()):
                task.build_all_requests(
                    samples=self._chosen["validation"][name],
                    apply_chat_template=chat,
                    chat_template=template,
                    fewshot_as_multiturn=chat,
                    tokenizer_name=model.adapter.tokenizer_name if chat else "",
                )
            by_question: dict[int, list[Any]] = {}
            for request in task.instances:
                by_question.setdefault(request.doc_id, []).append(request)
            requests += by_question.values()
        if len(requests) < size:
            raise InfeasibleError(f"batch_size = {size}: the validation split has {len(requests)} questions")
        questions = cycle(requests)

        def step() -> None:
            by_type: dict[str, list[Any]] = {}
            for request in (r for question in islice(questions, size) for r in question):
                by_type.setdefault(request.request_type, []).append(request)
            for kind, alike in by_type.items():
                getattr(model.adapter, kind)(alike, disable_tqdm=True)

        return step


class CountingModel:
    """A model and its tokenizer as the harness asks them, counting the tokens of prompts and answers."""

    def __init__(self, model: Any, tokenizer: Any, batch_size: int) -> None:
        _harness()
        from lm_eval.models.huggingface import HFLM

        counted = self

        class Counted(HFLM):  # type: ignore[misc]
            def _loglikelihood_tokens(self, requests: Any, *given: Any, **named: Any) -> Any:
                counted.tokens += sum(len(context) + len(answer) for _, context, answer in requests)
                return super()._loglikelihood_tokens(requests, *given, **named)

            def _model_generate(self, context: Any, *given: Any, **named: Any) -> Any:
                found = super()._model_generate(context, *given, **named)
                counted.tokens += int(named["attention_mask"].sum())
                counted.tokens += sum(
                    _written(row, self.eot_token_id) for row in found[:, context.shape[1] :].tolist()
                )
                return found

        self.tokens = 0
        self.adapter: Any = Counted(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)


def _written(answer: Sequence[int], end: int) -> int:
    """Tokens of an answer up to its end, which is one of them; what follows in its row is padding."""
    return answer.index(end) + 1 if end in answer else len(answer)


def _first_filter(samples: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Samples by the first of the task's filters: a task may read the same answers by several."""
    return [sample for sample in samples if sample["filter"] == samples[0]["filter"]]


def _right(task: str, sample: Mapping[str, Any]) -> float:
    metric = sample["metrics"][0]
    score = sample[metric]
    if isinstance(score, bool | int | float) and 0 <= score <= 1:
        return float(score)
    raise InputError(f"options.questions: {task}: its first metric, {metric}, is no share of right answers")


@cache
def _manager(files_alone: bool) -> Any:
    """What finds tasks; it reads thousands of files of the harness's own, unless only files are asked for."""
    return _harness().tasks.TaskManager(include_defaults=not files_alone)


def _harness() -> Any:
    extras.require("options.questions", "questions")
    import lm_eval
    import lm_eval.tasks

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return lm_eval
