"""Findings on where a run's trials ran: on the nodes of a cluster, or on several GPUs beside each other. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from joulebench.presentation.words import plural
from joulebench.reporting.summary import Summary
from joulebench.results.findings import Code, Finding


def cluster_findings(summary: Summary) -> Iterator[Finding]:
    """Say on which nodes or GPUs the trials ran, and what that means for their joules and times."""
    trials = summary.run.trials
    if nodes := Counter(trial.node for trial in trials if trial.node is not None):
        each = ", ".join(f"{node} ({count})" for node, count in sorted(nodes.items()))
        lost = sum(trial.attempt for trial in trials)
        again = f" {plural(lost, 'attempt')} lost with a worker, and repeated." if lost else ""
        if summary.manifest.cards:
            yield Finding(
                "note", Code.CLUSTER, "Measured on several GPUs beside each other", _beside(summary, each, again)
            )
            return
        text = (
            f"Trials by node: {each}. Seconds and joules of the ledger are sums over nodes, waiting included; idle "
            f"power is each node's own.{again}"
        )
        yield Finding("note", Code.CLUSTER, "Measured on a cluster", text)


def _beside(summary: Summary, each: str, again: str) -> str:
    timed = [name for _, name, quantity in summary.task.quantities() if quantity.holds_time(name)]
    shared = (
        f" Trials beside each other shared the CPU: {', '.join(timed)} is not that of a trial by itself, and does "
        "not compare with a run of one trial at a time."
    )
    return (
        f"Trials by GPU: {each}. Each trial had one GPU of this machine to itself, and its joules are that GPU's "
        "alone. CPU and RAM were shared by the trials beside each other, so theirs belong to no trial: the ledger "
        "has them once, for the run as a whole, under starting, waiting, choosing and recording. Its seconds are "
        f"sums over GPUs; idle power is each GPU's own.{shared if timed else ''}{again}"
    )
