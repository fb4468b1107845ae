"""A run's records as a report starts from them: read, checked, and with what speaks against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from joulebench.records.folder import RunFolder
from joulebench.records.model import LedgerEntry, Manifest, ScoreRecord, TrialRecord
from joulebench.results.audit import Doubt, audit
from joulebench.results.concurrent_windows import marked
from joulebench.spec.task import Task

FOLDER = "overlay"


@dataclass(frozen=True)
class Run:
    """A run's records as they were read: what an analysis starts from."""

    manifest: Manifest
    task: Task
    trials: Sequence[TrialRecord]
    entries: Sequence[LedgerEntry] = ()
    scores: Sequence[ScoreRecord] = ()
    doubts: Sequence[Doubt] = ()  # what speaks against them
    overlay: Run | None = None  # another run, kept beside this one to be laid over it

    @classmethod
    def of(cls, folder: RunFolder) -> Run:
        """Everything in a run folder; a trial that cannot have happened as recorded is `invalid`.

        Raises:
            InputError: a record file is damaged, of another schema version, or not of this task.
        """
        beside = folder.path / FOLDER
        overlay = cls._alone(RunFolder.open(beside)) if (beside / "manifest.json").exists() else None
        return replace(cls._alone(folder), overlay=overlay)

    @classmethod
    def _alone(cls, folder: RunFolder) -> Run:
        """The run without what lies beside it: a run laid over another has none of its own."""
        manifest, task = folder.manifest(), folder.task()
        trials, entries, scores, torn = folder.records()
        found = audit(folder.trials_path, manifest, task, marked(trials, entries), entries, scores, torn)
        trials = sorted(found.trials, key=lambda t: t.trial)  # a cluster's are written as they come back
        return cls(manifest, task, trials, entries, scores, found.doubts)
