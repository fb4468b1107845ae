"""The command line, called in this process as a user types it."""

from __future__ import annotations

from joulebench.commands.main import main


def call(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    """Exit code, standard output and standard error; none of them shows a traceback."""
    code, out, err = call_anyhow(monkeypatch, capsys, *arguments)
    assert "Traceback" not in err
    return code, out, err


def call_anyhow(monkeypatch, capsys, *arguments) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["joulebench", *map(str, arguments)])
    try:
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    out, err = capsys.readouterr()
    return code, out, err
