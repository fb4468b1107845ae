"""What is published names no person, machine or secret, in whatever text it stood."""

from __future__ import annotations

import json
from itertools import cycle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from joulebench.publishing.copying import prepare
from joulebench.publishing.privacy import Scrubber
from joulebench.records.folder import RunFolder
from tests.publishing.test_publishing import write

SCRUBBER = Scrubber({"wkessler": "user", "lab-gpu-07": "host", "ray-worker-3.lab.example.org": "node-1"})
SECRETS = {
    "/home/wkessler/data/cifar10.tar.gz": "cifar10.tar.gz",
    "/Users/wkessler/Library/Caches/x.bin": "x.bin",
    "~/runs/digits/gpu": "gpu",
    "/home/Wilma Kessler/my data/images": "images",
    "/mnt/projects/acme-secret/model.py:12": "model.py:12",
    "C:\\Users\\wkessler\\run.csv": "run.csv",
    "\\\\fileserver\\share\\acme\\run.csv": "run.csv",
    "file:///srv/acme/data.npz": "data.npz",
    "cannot open '/scratch/wkessler/a b/c.txt'": "cannot open 'c.txt'",
    "wkessler@lab-gpu-07": "MAIL",
    "w.kessler@example.org": "MAIL",
    "died on lab-gpu-07": "died on host",
    "node ray-worker-3.lab.example.org lost": "node node-1 lost",
    "192.168.17.23:6379": "ADDRESS:6379",
    "fe80::1ff:fe23:4567:890a": "ADDRESS",
    "2001:db8:85a3::8a2e:370:7334": "ADDRESS",
    "00:1A:2b:3C:4d:5E": "ADDRESS",
    "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345": "SECRET",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345": "SECRET",
    "sk-proj-0123456789abcdefghijABCDEF": "SECRET",
    "AKIAIOSFODNN7EXAMPLE": "SECRET",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl": "SECRET",
    "https://wkessler:hunter22@git.example.org/x": "https://SECRET@git.example.org/x",
    "Authorization: Bearer abcdef0123456789": "Authorization: SECRET",
    "WANDB_API_KEY=0123456789abcdef0123456789abcdef01234567": "WANDB_API_KEY=SECRET",
    'password="correct horse"': None,
}
PLAIN = [
    "samples per J", "J/sample/s", "2026-01-02T03:04:05Z", "12:34:56", "0.1.5.post20221221",
    "nvidia driver 535.104.05",
    "Linux-6.18.44-x86_64-with-glibc2.36", "3 / 4", "ratio 1:2", "tokens: 1024", "val_accuracy",
    "digits/cloud/20260101T000000Z",
    "https://example.org/a/b", "TDP 8 W × (0.1 + 0.9 × load³) (TDP: CodeCarbon's for 'AMD EPYC')",
    "gpu:0", "7da6a56bd03fb125",
    "mymodel.py:Net", "a.b:C", "lr=1e-3, wd=0.01", "AMD EPYC 9R14 96-Core Processor", "127.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("text", SECRETS)
def test_paths_names_addresses_and_secrets_go(text):
    after = SCRUBBER.text(text)
    if SECRETS[text] is not None:
        assert after == SECRETS[text]
    for told in ("kessler", "lab-gpu", "acme", "192.168", "hunter22", "correct"):
        assert told not in after.lower()


@pytest.mark.parametrize("text", PLAIN)
def test_what_tells_nothing_stays(text):
    assert SCRUBBER.text(text) == text


@given(st.text(max_size=60), st.sampled_from([s for s in SECRETS if SECRETS[s] is not None]), st.text(max_size=60))
def test_scrubbing_twice_changes_nothing_more(before, secret, after):
    once = SCRUBBER.text(f"{before} {secret} {after}")
    assert SCRUBBER.text(once) == once


def _planted(value, secrets):
    """Each text of a JSON value with the next secret behind it, but for those that have one form alone."""
    fixed = {
        "created_utc", "start_utc", "digest", "status", "kind", "role", "event", "ending", "phase", "of", "domain",
        "source", "stage", "origin", "stopped_by", "name", "unit", "method", "goal", "basis", "type", "workload",
        "search_split", "search", "order", "analyses", "augment", "domains", "joulebench", "commit",
    }  # fmt: skip
    if isinstance(value, dict):
        return {k: v if k in fixed else _planted(v, secrets) for k, v in value.items()}
    if isinstance(value, list):
        return [_planted(v, secrets) for v in value]
    return f"{value} {next(secrets)}" if isinstance(value, str) else value


def test_secrets_planted_in_every_text_of_a_run_are_not_published(tmp_path, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "wkessler")
    monkeypatch.setattr("socket.gethostname", lambda: "lab-gpu-07.example.org")
    kinds = [s for s in SECRETS if SECRETS[s] is not None and "ray-worker" not in s]
    planted = 0

    def secrets():
        nonlocal planted
        for secret in cycle(kinds):
            planted += 1
            yield secret

    source = secrets()
    run = write(tmp_path / "run", task_file=None)
    manifest = json.loads((run / "manifest.json").read_text())
    manifest |= {
        "data_path": "/home/wkessler/data/cifar.tar.gz",
        "trials_from": "/home/wkessler/runs/digits/gpu/20260101T000000Z",
        "data": {"fingerprint": "0", "source": "a", "classes": ["a", "b"], "note": {"deep": ["c"]}},
        "overrides": {f"options.{i}": "x" for i in range(30)},
        "search": {"note": "a", "versions": {"torch": "2.9"}}, "own_meters": ["mine:Meter"],
    }  # fmt: skip
    for part in ("environment", "data", "overrides", "search", "own_meters", "meters"):
        manifest[part] = _planted(manifest[part], source)
    code = _planted(
        {"files": {"wkessler/model.py": "0"}, "distribution": "lab 1", "uncommitted": ["model.py"]}, source
    )
    code |= {"name": manifest["own_meters"][0], "files": dict.fromkeys(code["files"], "6" * 64)}
    manifest["own_code"] = [code]
    manifest["hardware"]["title"] += f" {next(source)}"
    (run / "manifest.json").write_text(json.dumps(manifest))
    for name in ("trials.jsonl", "ledger.jsonl", "scores.jsonl"):
        rows = [json.loads(line) for line in (run / name).read_text().splitlines()]
        for row in rows:
            if row.get("status") not in (None, "ok"):
                row["error"] = f"{row['error']} {next(source)}"
            if "note" in row or name == "ledger.jsonl":
                row["note"] = f"note {next(source)}"
            if "costs" in row:
                row["costs"]["uncounted"] = f"why {next(source)}"
        (run / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    ready = prepare(run, tmp_path / "copy", allow_uncommitted=True)
    # with the two fields that are paths, and the meter's name in two places
    assert planted == len(ready.changes) - 3 >= 60
    files = [p for p in ready.folder.rglob("*") if p.is_file() and p.suffix != ".png"]
    text = "".join(p.read_bytes().decode(errors="replace") for p in files)
    names = (
        "kessler",
        "lab-gpu",
        "acme",
        "192.168",
        "hunter22",
        "AKIA",
        "hf_Ab",
        "ghp_",
        "eyJhb",
        "fe80",
        "2001:db8",
    )
    for told in names:
        assert told not in text, told
    assert RunFolder.open(ready.folder).manifest().data_path == "cifar.tar.gz"


def test_records_without_anything_to_hide_keep_their_bytes(tmp_path):
    run = write(tmp_path / "run")
    ready = prepare(run, tmp_path / "copy")
    assert ready.changes == ()
    for name in ("trials.jsonl", "ledger.jsonl", "scores.jsonl"):
        assert (ready.folder / name).read_bytes() == (run / name).read_bytes()
