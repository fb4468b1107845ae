"""Questions of lm-evaluation-harness, answered by a model of known accuracy."""

from __future__ import annotations

import json
import math

import pytest

from joulebench.errors import InputError
from joulebench.host.clock import RealClock
from joulebench.measurement.bench import Bench
from joulebench.measurement.harness import Request, run_trial
from joulebench.measurement.timeline import Timeline
from joulebench.meters.replay import PowerTrace, ReplayMeter
from joulebench.results.outcome import configurations, trial_outcomes
from joulebench.spec.task import Task
from joulebench.workloads.base import Context, InfeasibleError
from joulebench.workloads.transformer import Transformer
from tests.language_models import KnowsSome, byte_tokenizer

pytest.importorskip("lm_eval.models.huggingface", reason="pip install 'joulebench[questions]'")

ASKED, KNOWN = 24, 9  # questions, and the first of them that the model knows: 5 of 12 of validation, 4 of test
SIZES = {"batch_size": 2, "prompt_tokens": 4, "new_tokens": 2}


def prompt(number):
    return f"Q{number:02}: what is {number}+1?"


def choices(number):
    return [
        f"{number + more:02}" for more in (7, 1, 5)
    ]  # of equal length: unknown, the first is taken, a wrong one


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Task files, questions and a tokenizer."""
    folder = tmp_path_factory.mktemp("questions")
    byte_tokenizer(folder / "tokenizer")
    lines = [{"question": prompt(n), "choices": choices(n), "answer": 1} for n in range(ASKED)]
    (folder / "q.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    head = f"dataset_path: json\ndataset_kwargs:\n  data_files: {{test: {folder}/q.jsonl}}\ntest_split: test\n"
    (folder / "choose.yaml").write_text(
        f'task: choose\n{head}output_type: multiple_choice\ndoc_to_text: "{{{{question}}}}"\n'
        "doc_to_choice: choices\ndoc_to_target: answer\nmetric_list:\n  - metric: acc\n"
    )
    (folder / "write.yaml").write_text(
        f'task: write\n{head}output_type: generate_until\ndoc_to_text: "{{{{question}}}}"\n'
        'doc_to_target: "{{choices[answer]}}"\nmetric_list:\n  - metric: exact_match\n'
        "generation_kwargs:\n  until: []\n  max_gen_toks: 9\n"
    )
    (folder / "loss.yaml").write_text(
        f"task: loss\n{head}output_type: loglikelihood_rolling\n"
        'doc_to_text: ""\ndoc_to_target: "{{question}}"\n'
        "metric_list:\n  - metric: bits_per_byte\n"
    )
    return folder


def options(folder, *tasks, **more):
    told = [f"{prompt(n)} {choices(n)[1]}" for n in range(KNOWN)]
    return {
        "tokenizer": str(folder / "tokenizer"),
        "questions": [str(folder / f"{task}.yaml") for task in tasks],
        "knows": told,
        **more,
    }


def made(folder, *tasks, params=SIZES, **more):
    workload = KnowsSome(Context("cpu", 0, RealClock(), options=options(folder, *tasks, **more)))
    workload.build(params)
    return workload


def test_accuracy_is_what_the_model_knows(folder):
    workload = made(folder, "choose")
    validation, test = workload.evaluate("validation"), workload.evaluate("test")
    assert (validation["accuracy"], test["accuracy"]) == (5 / 12, 4 / 12)
    share = (5 + 2) / (12 + 4)
    assert workload.standard_errors() == {"val_accuracy": pytest.approx(math.sqrt(share * (1 - share) / 16))}


def test_tokens_are_those_of_prompts_and_answers(folder):
    expected = sum(len(prompt(n)) + len(f" {c}") for n in range(0, ASKED, 2) for c in choices(n)) / 12
    assert made(folder, "choose").evaluate("validation")["tokens_per_question"] == pytest.approx(expected)


@pytest.mark.parametrize(("allowed", "written"), [(None, 9), (3, 3)])
def test_a_written_answer_takes_at_most_its_tokens(folder, allowed, written):
    params = SIZES | ({} if allowed is None else {"answer_tokens": allowed})
    found = made(folder, "write", params=params, knows=[]).evaluate("validation")
    asked = sum(len(prompt(n)) for n in range(0, ASKED, 2)) / 12
    assert found["accuracy"] == 0
    assert found["tokens_per_question"] == pytest.approx(asked + written)


def test_of_several_tasks_each_has_its_accuracy(folder):
    found = made(folder, "choose", "write").evaluate("validation")
    assert (found["accuracy"], found["accuracy.choose"], found["accuracy.write"]) == (5 / 24, 5 / 12, 0)


def test_a_limit_takes_the_first_of_each_split(folder):
    workload = made(folder, "choose", questions_limit=4)
    assert (workload.evaluate("validation")["accuracy"], workload.evaluate("test")["accuracy"]) == (1.0, 1.0)
    assert workload.standard_errors()["val_accuracy"] > 0.1  # four of four are no certainty


def test_more_questions_a_step_than_there_are_cannot_be(folder):
    with pytest.raises(InfeasibleError, match="12 questions"):
        made(folder, "choose", params=SIZES | {"batch_size": 13}).phases()


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["absent.yaml"], "absent.yaml"),
        (["q.jsonl"], "q.jsonl"),
        (["loss.yaml"], "bits_per_byte"),
    ],
)
def test_what_cannot_be_asked_is_one_line(folder, asked, told):
    with pytest.raises(InputError, match=told) as caught:
        made(folder, questions=[str(folder / name) for name in asked]).evaluate("validation")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"questions": []}, "options.questions"),
        ({"questions": [3]}, "options.questions"),
        ({"questions_limit": 5}, "options.questions_limit"),
        ({"questions": ["a"], "questions_limit": 0}, "options.questions_limit"),
        ({"questions": ["a"], "chat_template": "yes"}, "options.chat_template"),
        ({"questions": ["a"]}, "options.tokenizer"),
        ({"text": "/nowhere.txt"}, "options.text"),
    ],
)
def test_options_are_checked_before_a_run(given, told):
    with pytest.raises(InputError, match=told):
        Transformer.check_task(task(given))


def task(given, **objectives):
    named = {"j_per_answer": {"goal": "minimize", "phase": "answer", "domains": ["cpu"], "basis": "gross"}}
    return Task.model_validate(
        {
            "name": "asked",
            "title": "Asked",
            "workload": "tests.language_models:KnowsSome",
            "options": given,
            "parameters": {name: {"type": "fixed", "value": value} for name, value in SIZES.items()},
            "objectives": named | objectives,
            "stages": {"default": {"method": "default", "repeats": 1}},
            "protocol": {"warmup_s": 0.0, "window_s": 0.2, "repeats": 3, "max_repeats": 3, "idle_s": 0},
        }
    )


def measured(task):
    """The record of the default configuration at 65 W."""
    clock = RealClock()
    timeline = Timeline(ReplayMeter([PowerTrace("cpu", (0.0,), (65.0,))], clock, "test"), clock)
    timeline.start()
    bench = Bench(task, "cpu", clock, timeline)
    return run_trial(bench, Request(0, 0, "default", "default", task.defaults, 7)).record


def test_joules_per_correct_answer_are_joules_per_answer_over_the_accuracy(folder):
    asked = {"goal": "minimize", "phase": "answer", "domains": ["cpu"], "basis": "gross", "share": "val_accuracy"}
    inverse = asked | {"goal": "maximize"}
    made = task(options(folder, "choose"), j_per_correct_answer=asked, correct_answers_per_j=inverse)
    trial = measured(made)
    assert trial.status == "ok", trial.error
    values = trial_outcomes(made, trial)
    plain, correct = values["j_per_answer"].value, values["j_per_correct_answer"].value
    assert correct.mean == pytest.approx(plain.mean / (5 / 12), rel=1e-12)
    assert values["correct_answers_per_j"].value.mean == pytest.approx(1 / correct.mean, rel=0.02)
    [configuration] = configurations(made, [trial])
    share, sem = 5 / 12, trial.sems["val_accuracy"]
    stated = configuration.outcomes["j_per_correct_answer"].value
    assert stated.sem / stated.mean == pytest.approx(math.hypot(plain.sem / plain.mean, sem / share))
    windows = [w for w in trial.windows if w.phase == "answer"]
    assert plain.mean == pytest.approx(sum(65.0 * w.duration_s / w.units for w in windows) / len(windows), rel=1e-3)


def test_a_name_says_that_only_some_answers_count(folder):
    asked = {"goal": "minimize", "phase": "answer", "domains": ["cpu"], "basis": "gross", "share": "val_accuracy"}
    with pytest.raises(InputError, match="correct_answer"):
        measured(task(options(folder, "choose"), j_per_answer=asked))


def test_of_no_correct_answer_there_are_no_joules(folder):
    asked = {"goal": "minimize", "phase": "answer", "domains": ["cpu"], "basis": "gross", "share": "val_accuracy"}
    trial = measured(task(options(folder, "choose", knows=[]), j_per_correct_answer=asked))
    assert trial.status == "infeasible"
    assert trial.metrics["val_accuracy"] == 0
    assert not trial_outcomes(task(options(folder, "choose"), j_per_correct_answer=asked), trial)
