"""Where a live meter's answers come from: a URL or a command. Errors are told without address or credential."""

from __future__ import annotations

import base64
import http.client
import socket
import ssl
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

#: Longest answer that is read: a page of metrics has some 100 kB.
MAX_BYTES = 8 * 2**20
_PIECE_BYTES = 65536


class NoAnswerError(Exception):
    """A meter that gave no answer. The message stands in records, so it has no address, command or credential."""


class _ClosedError(NoAnswerError):
    pass


class Source(Protocol):
    """What answers when it is asked."""

    def text(self) -> str:
        """The answer now.

        Raises:
            NoAnswerError: there is none.
        """
        ...

    def close(self) -> None:
        """Release what it holds open."""
        ...


class HttpSource:
    """Answers of a URL by GET, over one connection that is kept open.

    Redirects are not followed and proxies not used: what is asked is what the user named.

    Args:
        url: `http://` or `https://`; `user:password@` in it is sent as Basic authentication.
        headers: sent with each request.
        timeout_s: to connect, and for each answer.
        verify_tls: whether the certificate must be one that this machine trusts.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float, verify_tls: bool = True) -> None:
        parts = urlsplit(url)
        self._host, self._port, self._timeout_s = parts.hostname or "", parts.port, timeout_s
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"Accept": "*/*", "User-Agent": "joulebench", **headers}
        if parts.username is not None:
            pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        self._tls = _tls(verify_tls) if parts.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None
        self._whole = False  # whether the last answer was read to its end, and another can follow

    def text(self) -> str:
        kept = self._connection is not None
        try:
            return self._asked()
        except _ClosedError:
            if not kept:  # a connection that was kept open may have been closed there meanwhile
                raise
            return self._asked()

    def _asked(self) -> str:
        try:
            return self._answer()
        except ConnectionRefusedError:
            raise NoAnswerError("refuses the connection") from None
        except TimeoutError:
            raise NoAnswerError(f"does not answer within {self._timeout_s:g} s") from None
        except ssl.SSLCertVerificationError:
            raise NoAnswerError("has a certificate that cannot be verified (see verify_tls)") from None
        except socket.gaierror:
            raise NoAnswerError("has a name that cannot be resolved") from None
        except (ConnectionError, http.client.BadStatusLine):
            raise _ClosedError("closes the connection without an answer") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise NoAnswerError(f"cannot be asked ({reason})") from None
        finally:
            if not self._whole:
                self.close()

    def _answer(self) -> str:
        self._whole = False
        until_s = time.monotonic() + self._timeout_s
        if self._connection is None:
            self._connection = self._opened()
        self._connection.request("GET", self._target, headers=self._headers)
        answer = self._connection.getresponse()
        content = bytearray()
        while piece := answer.read1(_PIECE_BYTES):
            content += piece
            if len(content) > MAX_BYTES:
                raise NoAnswerError(f"answers with more than {MAX_BYTES // 2**20} MiB")
            if time.monotonic() > until_s:
                raise TimeoutError
        answer.close()  # without this no other request could follow on the connection
        if answer.status != http.client.OK:
            raise NoAnswerError(f"answers with HTTP status {answer.status}")
        self._whole = not answer.will_close
        return content.decode("utf-8", "replace")

    def _opened(self) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._tls)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(OSError):
                connection.close()


def _tls(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:  # management controllers come with a certificate that they signed themselves
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class CommandSource:
    """Standard output of a command, run without a shell."""

    def __init__(self, words: Sequence[str], timeout_s: float) -> None:
        self._words, self._timeout_s = list(words), timeout_s

    def text(self) -> str:
        name = Path(self._words[0]).name
        try:
            done = subprocess.run(
                self._words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise NoAnswerError(f"{name} does not end within {self._timeout_s:g} s") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "its words hold a NUL"
            raise NoAnswerError(f"{name} cannot be run ({reason})") from None
        if done.returncode != 0:
            raise NoAnswerError(f"{name} ends with exit code {done.returncode}")
        if len(done.stdout) > MAX_BYTES:
            raise NoAnswerError(f"{name} prints more than {MAX_BYTES // 2**20} MiB")
        return done.stdout.decode("utf-8", "replace")

    def close(self) -> None:
        pass
