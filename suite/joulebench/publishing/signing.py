"""Signatures of published sets with SSH keys, as git signs commits: over the checksums of the records.

A signature shows that the holder of a key published these records and that nobody has changed them since. It
cannot show that the meter was honest, or that the run took place.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from joulebench.errors import InputError, MissingFileError
from joulebench.host.files import write_whole
from joulebench.spec.reading import read_file

SIGNATURE = "SHA256SUMS.sig"
#: Keeps a signature made for another purpose from counting here.
NAMESPACE = "joulebench"
TIMEOUT_S = 60.0


def sign(sums: Path, key: Path) -> None:
    """Write the signature of a file of checksums beside it.

    Args:
        key: private SSH key, or a public one whose private part an agent holds.

    Raises:
        InputError: there is no `ssh-keygen`, or the key cannot sign.
    """
    if not key.is_file():
        raise InputError(f"--sign {key}: no such key")
    signature = _keygen(f"--sign {key}", "sign", "-f", str(key), "-n", NAMESPACE, content=read_file(sums))
    write_whole(sums.with_name(SIGNATURE), signature.encode())


def signer(sums: Path, signers: Path) -> str:
    """Who signed a file of checksums, as `signers` names the key.

    Args:
        signers: file of allowed signers, as `ssh-keygen(1)` describes it and git uses it.

    Raises:
        InputError: the file cannot be read, or there is no `ssh-keygen`.
        ValueError: there is no signature, it is of a key that is not listed, or of other content.
    """
    if not signers.is_file():
        raise InputError(f"--signers {signers}: no such file")
    signature = sums.with_name(SIGNATURE)
    try:
        read_file(signature)
        content = read_file(sums)
    except MissingFileError:
        raise ValueError("is not signed") from None
    except InputError as error:
        raise ValueError(str(error)) from None
    given = ("-f", str(signers), "-n", NAMESPACE, "-s", str(signature))
    try:
        found = _keygen("", "find-principals", "-f", str(signers), "-s", str(signature))
        who = next(iter(found.splitlines()), "").strip()
        if not who:
            raise ValueError("is signed by a key that is not listed")
        _keygen("", "verify", *given, "-I", who, content=content)
    except subprocess.CalledProcessError:
        raise ValueError("is signed by a key that is not listed, or was changed since") from None
    return who


def _keygen(what: str, action: str, *arguments: str, content: bytes | None = None) -> str:
    try:
        done = subprocess.run(
            ["ssh-keygen", "-Y", action, *arguments],
            input=content, stdin=subprocess.DEVNULL if content is None else None,
            capture_output=True, check=True, timeout=TIMEOUT_S, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError:
        raise InputError("ssh-keygen: not found; signatures need OpenSSH 8.2 or newer") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"ssh-keygen -Y {action}: no answer within {TIMEOUT_S:g} s") from None
    except subprocess.CalledProcessError as error:
        if not what:
            raise
        reason = " ".join(error.stderr.decode(errors="replace").split())[:200]
        raise InputError(f"{what}: cannot sign: {reason}") from None
    return done.stdout.decode(errors="replace")
