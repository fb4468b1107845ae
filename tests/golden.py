"""Hashes of the reports of many runs, to show that a change of the code leaves every page as it was.

pytest --keep-runs RUNS                       keeps every run that the tests build
python -m tests.golden RUNS --write FILE      before the change
python -m tests.golden RUNS --against FILE    after it: lists what differs, exit code 1 if anything does
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from joulebench.errors import InputError
from joulebench.records.folder import RunFolder
from joulebench.reporting import write_report

#: Of a report's files all but the page for browsers, which carries a library's version.
KEPT = (".md", ".json", ".csv", ".png", ".svg")


def hashes(runs: Path) -> Iterator[tuple[str, str]]:
    """File of a report, by run and name, and its hash; what a run is refused for where it has no report."""
    for manifest in sorted(runs.rglob("manifest.json")):
        run = manifest.parent
        name = run.relative_to(runs).as_posix()
        with tempfile.TemporaryDirectory() as temporary:
            copy = Path(temporary) / "run"
            shutil.copytree(run, copy)
            records = {path.name for path in copy.iterdir() if path.suffix == ".jsonl"} | {"manifest.json"}
            try:
                headline = write_report(RunFolder.open(copy)).headline
            except InputError as error:
                yield f"{name}: refused", str(error).replace(temporary, "")
                continue
            yield f"{name}: headline", headline
            for path in sorted(copy.iterdir()):
                if path.name not in records and path.suffix in KEPT:
                    yield f"{name}: {path.name}", hashlib.sha256(path.read_bytes()).hexdigest()


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """What one has and the other has not, or has differently."""
    words = {(True, False): "is gone", (False, True): "is new", (True, True): "differs"}
    names = sorted(before.keys() | after.keys())
    return [f"{n} {words[n in before, n in after]}" for n in names if before.get(n) != after.get(n)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--write", type=Path)
    parser.add_argument("--against", type=Path)
    given = parser.parse_args()
    found = dict(hashes(given.runs))
    if given.write:
        given.write.write_text(json.dumps(found, indent=1), encoding="utf-8")
    different = differences(json.loads(given.against.read_text(encoding="utf-8")), found) if given.against else []
    print("\n".join([*different, f"{len(found)} files, {len(different)} differences"]))
    return int(bool(different))


if __name__ == "__main__":
    raise SystemExit(main())
