"""Export to MLflow: one MLflow run a trial, under a parent run for the whole; repeated exports add nothing."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlparse

from joulebench.errors import InputError, first_line
from joulebench.extras import require
from joulebench.records.folder import RunFolder
from joulebench.reporting.mlflow_content import Logged, run_key, span_ms, study_logged, trials_logged
from joulebench.reporting.summary import Summary
from joulebench.results.run import Run

T = TypeVar("T")

RUN_TAG = "joulebench.run"
TRIAL_TAG = "joulebench.trial"
CONTENT_TAG = "joulebench.content"  # set last: a run without it was cut short while it was written
EPOCHS_TAG = "joulebench.epochs"  # how many epochs' metrics are there
PARENT_TAG = "mlflow.parentRunId"
BATCH = 100  # MLflow takes this many parameters or tags at a time
PAGE = 1000  # runs of one answer


@dataclass(frozen=True)
class Exported:
    """Number of trials that an export wrote, replaced and left as they were."""

    experiment: str
    written: int
    unchanged: int
    replaced: int

    def __str__(self) -> str:
        return (
            f"mlflow: experiment {self.experiment}: {self.written} trials written, {self.replaced} replaced, "
            f"{self.unchanged} already there"
        )


def export_mlflow(
    folder: RunFolder, uri: str, track: Callable[[list[T]], Iterable[T]] = lambda every: every
) -> Exported:
    """Write a run and its trials to an MLflow store; what is already there is kept.

    Trials are found again by tag. One whose content has changed since (a test score came later, an export was cut
    short) is brought up to date. Trials that are not ok end as FAILED. MLflow's telemetry is off. `track` shows
    progress.

    Raises:
        InputError: MLflow is not installed, or the store refuses; the records are damaged.
    """
    client = _client(uri)
    run = Run.of(folder)
    key, name = run_key(folder), f"joulebench/{run.task.name}"
    from mlflow.exceptions import MlflowException

    try:
        experiment = _experiment(client, uri, name)
        parent = _study(client, experiment, key, folder, study_logged(folder, Summary(run)))
        there = _children(client, experiment, parent)
        counts = {"written": 0, "unchanged": 0, "replaced": 0}
        for logged in track(list(trials_logged(folder, run))):  # type: ignore[arg-type]
            counts[_trial(client, experiment, parent, key, logged, there)] += 1  # type: ignore[arg-type]
    except MlflowException as error:
        raise InputError(f"--mlflow: {without_login(first_line(error), uri)}") from None
    return Exported(name, **counts)


class Live:
    """A run that is under way, in an MLflow store: its trials so far, under a parent that has not ended.

    Raises:
        InputError: as `export_mlflow`.
    """

    def __init__(self, folder: RunFolder, uri: str) -> None:
        self._client, self._folder, self._key = _client(uri), folder, run_key(folder)
        manifest = folder.manifest()
        self._experiment = _experiment(self._client, uri, f"joulebench/{folder.task().name}")
        start_ms = span_ms((), manifest.created_utc)[0]
        parent = _parent(self._client, self._experiment, self._key, folder, start_ms)
        self._parent = str(parent.info.run_id)
        if parent.info.status != "RUNNING":  # a run that is resumed
            self._client.update_run(self._parent, status="RUNNING")
        self._there = _children(self._client, self._experiment, self._parent)

    def write_new(self) -> None:
        """Write the trials that are not there."""
        run = Run.of(self._folder)
        for logged in trials_logged(self._folder, run, {t.trial for t in run.trials} - set(map(int, self._there))):
            _trial(self._client, self._experiment, self._parent, self._key, logged, self._there)
            self._there[logged.tags[TRIAL_TAG]] = None

    def mark_killed(self) -> None:
        """End the parent, as of now; an export, or the run once resumed, brings it up to date."""
        self._client.set_terminated(self._parent, "KILLED")


def _client(uri: str) -> Any:
    """MLflow's client, which neither reports home nor fills the terminal."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    if urlparse(uri).scheme in ("", "file"):
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # the user asked for files
    require("--mlflow", "mlflow")
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        return MlflowClient(tracking_uri=uri)
    except (MlflowException, ImportError, OSError) as error:
        raise InputError(f"--mlflow: {without_login(first_line(error), uri)}") from None


def without_login(text: str, uri: str) -> str:
    """A message without the user and password that the store's address may hold."""
    login = urlparse(uri).netloc.rpartition("@")[0]
    return text.replace(f"{login}@", "") if login else text


def _experiment(client: Any, uri: str, name: str) -> str:
    """The task's experiment. Files of a local database lie beside it, and not in whatever folder is current."""
    experiment = client.get_experiment_by_name(name)
    if experiment is not None:
        if experiment.lifecycle_stage != "active":
            raise InputError(
                f"--mlflow: experiment '{name}' was deleted in MLflow; restore it, or remove it for good"
            )
        return str(experiment.experiment_id)
    return str(client.create_experiment(name, artifact_location=_artifacts(uri, name)))


def _artifacts(uri: str, name: str) -> str | None:
    """None leaves the place to the store."""
    parsed = urlparse(uri)
    if parsed.scheme != "sqlite" or not parsed.path.strip("/"):
        return None
    database = Path(parsed.path[1:]).resolve()
    return (database.parent / "mlartifacts" / name).as_uri()


def _study(client: Any, experiment: str, key: str, folder: RunFolder, logged: Logged) -> str:
    """The parent run, made or brought up to date; its trials stay under it."""
    run = _parent(client, experiment, key, folder, logged.start_ms)
    if run.data.tags.get(CONTENT_TAG) != logged.digest:
        _write(client, run, logged, "FINISHED" if logged.finished else "KILLED")
    return str(run.info.run_id)


def _parent(client: Any, experiment: str, key: str, folder: RunFolder, start_ms: int) -> Any:
    """The parent run, made where it is not there."""
    query = f"tags.`{RUN_TAG}` = '{key}' and tags.`joulebench.role` = 'study'"
    run = next(iter(client.search_runs([experiment], query, max_results=1)), None)
    if run is not None:
        return run
    tags = {RUN_TAG: key, "joulebench.role": "study"}
    name = folder.path.resolve().name
    return client.create_run(experiment, start_time=start_ms, tags=tags, run_name=name)


def _children(client: Any, experiment: str, parent: str) -> dict[str, Any]:
    """The trials that are there, by number."""
    trials: dict[str, Any] = {}
    token = None
    while True:
        page = client.search_runs(
            [experiment], f"tags.`{PARENT_TAG}` = '{parent}'", max_results=PAGE, page_token=token
        )  # fmt: skip
        trials |= {run.data.tags.get(TRIAL_TAG, ""): run for run in page}
        token = page.token
        if not token:
            return trials


def _trial(
    client: Any, experiment: str, parent: str, key: str, logged: Logged, there: Mapping[str, Any]
) -> str:  # fmt: skip
    """Write one trial if it is not there as it is; says what was done."""
    earlier, status = there.get(logged.tags[TRIAL_TAG]), "FINISHED" if logged.finished else "FAILED"
    if earlier is not None:
        if earlier.data.tags.get(CONTENT_TAG) == logged.digest:
            return "unchanged"
        if earlier.data.metrics.keys() <= logged.metrics.keys():
            _write(client, earlier, logged, status)
            return "replaced"
        client.delete_run(earlier.info.run_id)  # MLflow takes no metric back
    tags = {PARENT_TAG: parent, RUN_TAG: key, "joulebench.role": "trial", TRIAL_TAG: logged.tags[TRIAL_TAG]}
    run = client.create_run(experiment, start_time=logged.start_ms, tags=tags, run_name=logged.name)
    _write(client, run, logged, status)
    return "written" if earlier is None else "replaced"


def _write(client: Any, run: Any, logged: Logged, status: str) -> None:
    """Everything of a run; of one that is there already, what differs. The content's tag comes last."""
    from mlflow.entities import Metric, Param, RunTag

    run_id, data = run.info.run_id, run.data
    epochs = logged.epochs if data.tags.get(EPOCHS_TAG) != str(len(logged.epochs)) else ()
    metrics = [Metric(n, v, at_ms, i) for i, (at_ms, own) in enumerate(epochs) for n, v in own.items()]
    by_epoch = {metric.key for metric in metrics}
    # of two values at one step the later is the run's: one that changed must not have the first one's time
    now_ms = logged.end_ms if CONTENT_TAG not in data.tags else round(1000 * time.time())
    metrics += [
        Metric(n, v, now_ms, len(logged.epochs))
        for n, v in logged.metrics.items()
        if data.metrics.get(n) != v or n in by_epoch
    ]
    params = [Param(n, v) for n, v in logged.params.items() if n not in data.params]
    tags = [RunTag(n, v) for n, v in logged.tags.items()]
    while metrics or params or tags:
        client.log_batch(run_id, metrics[:BATCH], params[:BATCH], tags[:BATCH])
        metrics, params, tags = metrics[BATCH:], params[BATCH:], tags[BATCH:]
    with tempfile.TemporaryDirectory() as folder:
        for name, content in logged.files.items():
            (Path(folder) / name).write_bytes(content)
        if logged.files:
            client.log_artifacts(run_id, folder)
    client.set_terminated(run_id, status, end_time=logged.end_ms)
    if epochs:
        client.set_tag(run_id, EPOCHS_TAG, str(len(epochs)))
    client.set_tag(run_id, CONTENT_TAG, logged.digest)
