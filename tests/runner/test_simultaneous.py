"""Runs that begin at the same moment in one folder, as a Slurm array does."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.runner.local import resume, run
from joulebench.runner.session import locked
from tests.crash.commands import RUN, lay_task
from tests.run_factory import RunBuilder, make_task

COUNT = 50


def test_folders_of_one_name_are_each_claimed_once(tmp_path):
    manifest = RunBuilder(make_task()).manifest()
    with ThreadPoolExecutor(COUNT) as pool:
        claimed = list(
            pool.map(lambda _: RunFolder.claim(tmp_path / "a" / "20260102T030405Z", manifest), range(COUNT))
        )
    assert len({folder.path for folder in claimed}) == COUNT
    assert all(folder.manifest() == manifest for folder in claimed)
    assert sorted(p.name for p in claimed[0].path.iterdir()) == ["manifest.json"]


def test_a_run_of_a_table_imports_no_torch(tmp_path):
    lay_task(tmp_path)
    code = "import sys, runpy; sys.argv = ['joulebench', *sys.argv[1:]]\ntry:\n    runpy.run_module('joulebench', "
    code += "run_name='__main__')\nexcept SystemExit as stop:\n    assert not stop.code\n"
    code += "assert not {'torch', 'botorch', 'ax', 'pandas', 'sklearn'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code, *RUN], cwd=tmp_path, check=True, capture_output=True)


def test_nothing_is_mended_in_a_run_that_another_process_works_on(tmp_path):
    lay_task(tmp_path)
    folder = run(str(tmp_path / "crash.toml"), out=tmp_path / "runs", replay="50")
    whole = folder.trials_path.read_bytes()
    being_written = whole + b'{"schema_version":2,"tri'
    folder.trials_path.write_bytes(being_written)
    with locked(folder), pytest.raises(InputError, match="another process is working on this run"):
        resume(folder.path)
    assert folder.trials_path.read_bytes() == being_written
    said = []
    resume(folder.path, observer=lambda event: said.append(event.text))
    assert folder.trials_path.read_bytes() == whole
    assert any("torn" in text for text in said)


@pytest.mark.slow
def test_fifty_runs_begun_in_one_second_are_fifty_complete_folders(tmp_path):
    lay_task(tmp_path)
    # all wait for the end of one pipe
    waits = ["sh", "-c", 'read _; exec "$0" "$@"', sys.executable, "-m", "joulebench", *RUN]
    reads, writes = os.pipe()
    runs = [
        subprocess.Popen(
            waits, cwd=tmp_path, stdin=reads, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for _ in range(COUNT)
    ]
    os.close(reads)
    os.close(writes)
    errors = [process.communicate(timeout=600)[1] for process in runs]
    assert [(process.returncode, error) for process, error in zip(runs, errors, strict=True)] == [(0, "")] * COUNT
    folders = [RunFolder.open(path.parent) for path in tmp_path.glob("runs/*/*/*/manifest.json")]
    assert len(folders) == COUNT
    sequences = [[(t.trial, t.params, t.seed, t.metrics) for t in folder.trials()] for folder in folders]
    assert sequences[0]
    assert all(sequence == sequences[0] for sequence in sequences)
    assert all(folder.ledger()[-1].ending == "done" for folder in folders)
    assert all((folder.path / "report.html").is_file() for folder in folders)
    assert not list(tmp_path.rglob("*.tmp"))
