"""The report's section on generating text: energy per token, latency and memory, prefill and decode apart. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.presentation.findings import wide_flag
from joulebench.presentation.numbers import number, octets, percent, ratio_percent, seconds
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.table import label, show
from joulebench.presentation.units import in_words, plain
from joulebench.results.run import Run
from joulebench.spec.task import Protocol
from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import ratio
from joulebench.studies.base import Study
from joulebench.studies.generation.analysis import (
    CLOSURE_TOLERANCE,
    DECODE,
    MAX_RESTORE_SHARE,
    PHASES,
    PREFILL,
    REQUEST,
    Generation,
    Generator,
    Part,
    generation,
)
from joulebench.studies.generation.figures import figures
from joulebench.studies.generation.tables import tables

#: Configurations that a sentence names.
MAX_NAMED = 8


class GenerationStudy(Study[Generation]):
    """Text generation: energy per token, latency and memory of whole requests, of prefill and of decode."""

    name = "generation"

    def analyse(self, run: Run) -> Generation | None:
        return generation(run.task, run.trials)

    def section(self, result: Generation, run: Run) -> Section:
        return generation_section(result, run.task.protocol)


def generation_section(found: Generation, protocol: Protocol) -> Section:
    """Everything the report says of it."""
    return Section(
        name="generation",
        title="Generation: prefill and decode",
        answer=answer(found, protocol),
        verdict=None,
        sentences=sentences(found),
        plots=figures(found),
        tables=tables(found, protocol),
        rows=tuple(_row(p) for p in found.points),
    )


def answer(found: Generation, protocol: Protocol) -> str:
    """What the most efficient configuration takes for a token, for what, and how fast."""
    best = found.best
    if best is None:
        return "No configuration has a valid window of a whole request or of decode."
    where = ""
    if len(found.points) > 1:
        where = f"At {label(best.params, found.names)}, the most efficient of {len(found.points)} configurations, "
    phase = REQUEST if REQUEST in best.parts else DECODE
    cost = best.parts[phase].cost
    per_j = cost.units_per_j
    rate = "" if per_j is None else f", {number(per_j.mean)} {plain(cost.unit)}s/J"
    text = f"{where}{'a request' if phase == REQUEST else 'decode'} takes {in_words(cost.gross, _per(cost.unit))}"
    text += f" gross ({cost.kind}{wide_flag(cost.gross, protocol)}{rate})"
    parts = [p for p in (_shares(best), _pace(best)) if p]
    text = "; ".join((text, *parts))
    return f"{text[0].upper()}{text[1:]}."


def _at(found: Generation, point: Generator) -> str:
    """` at batch_size 8`; nothing where there is only one configuration."""
    return f" at {label(point.params, found.names)}" if found.names else ""


def _at_all(found: Generation, points: Sequence[Generator]) -> str:
    """` at batch_size 1, 2, 4`, the first few of them."""
    names = [_at(found, p) for p in points]
    if len(found.names) == 1:
        shown = [show(p.params[found.names[0]]) for p in points]
        names = [f" at {found.names[0]} {shown[0]}", *(f" {value}" for value in shown[1:])]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ",".join(names[:MAX_NAMED]) + more


def _per(unit: str) -> str:
    return f"J/{plain(unit)}"


def _shares(point: Generator) -> str | None:
    shares = [(name, point.share(name)) for name in (PREFILL, DECODE)]
    known = [f"{name} {percent(share.mean)}" for name, share in shares if share is not None]
    return f"of a request's energy {' and '.join(known)}" if known else None


def _pace(point: Generator) -> str | None:
    prefill, each = point.parts.get(PREFILL), point.per_token_s(lambda p: p.mean_s)
    first = prefill.mean_s if prefill is not None else None
    if first is None or each is None:
        return None
    return f"the first token comes after {seconds(first.mean)}, each further one after {seconds(each.mean)}"


def sentences(found: Generation) -> tuple[str, ...]:
    """What the numbers are of, whether the parts add up, and what is to be kept in mind."""
    parts = (
        _basis(found),
        _per_token(found),
        _closure(found),
        _served(found),
        _restore(found),
        _memory(found),
        _latency(found),
        _lost(found),
    )
    return tuple(part for part in parts if part)


def _basis(found: Generation) -> str:
    domains = " + ".join(found.domains)
    kind = "measured" if found.kind == "measured" else "estimated, at least in part"
    base = f"Energy is over {domains} and {kind}."
    known = [c.cost.net for p in found.points for c in p.parts.values()]
    if all(net is None for net in known):
        return f"{base} It is gross: idle power is not known, so there is no net."
    return f"{base} Net is gross less idle power × time, where idle power is known."


def _per_token(found: Generation) -> str | None:
    best = found.best
    if best is None or PREFILL not in best.parts or DECODE not in best.parts:
        return None
    decode, prefill = best.parts[DECODE].cost, best.parts[PREFILL].cost
    times = ratio(decode.gross, prefill.gross)
    if times is None or decode.domains != prefill.domains:
        return None
    where = _at(found, best)
    return (
        f"A {plain(decode.unit)} made takes {_times(times)} the energy of a {plain(prefill.unit)} read{where}: "
        "prefill does all tokens of a prompt at once, decode one token of each sequence at a time."
    )


def _times(value: Estimate) -> str:
    ends = ""
    if value.low is not None and value.high is not None:
        ends = f" (95 % interval {number(value.low, 3)} to {number(value.high, 3)})"
    return f"{number(value.mean, 3)} times{ends}"


def _closure(found: Generation) -> str | None:
    """Whether prefill and decode, each measured in windows of its own, add up to the request measured whole."""
    known = [(p, c) for p in found.points if (c := p.closure) is not None]
    if not known:
        return None
    off = [p for p, _ in known if p.closes is False]
    best = next((c for p, c in known if p is found.best), known[0][1])
    known_ends = best.low is not None and best.high is not None
    ends = f" [{ratio_percent(best.low)}, {ratio_percent(best.high)}]" if known_ends else ""
    whole = f"{ratio_percent(best.mean)}{ends} of a request measured whole"
    text = f"Prefill and decode, measured apart, add up to {whole}"
    if len(known) > 1:
        means = sorted(c.mean for _, c in known)
        where = _at(found, found.best) if found.best else ""
        range_ = " to ".join(dict.fromkeys(ratio_percent(m) for m in (means[0], means[-1])))
        over = f"{range_} over {len(known)} configurations"
        text += f"{where}, and to {over}"
    if all(p.closes for p, _ in known):
        within = percent(CLOSURE_TOLERANCE)
        return f"{text}: they account for the request (within {within}, or within the interval)."
    if not off:
        return f"{text}: the intervals are too wide to say more."
    return (
        f"{text}. They do not account for it{_at_all(found, off)}: the machine was in another state, or a phase "
        "leaves work out. Trust the request's own joules; the shares of its parts are rough there."
    )


def _served(found: Generation) -> str | None:
    best = found.best
    if best is None or REQUEST not in best.parts:
        return None
    request = best.parts[REQUEST]
    rates = []
    if best.requests_per_s is not None:
        rates.append(f"{number(best.requests_per_s.mean, 3)} requests/s")
    if request.cost.units_per_s is not None:
        rates.append(f"{number(request.cost.units_per_s.mean, 3)} {plain(request.cost.unit)}s/s")
    if request.p50_s is None or request.p95_s is None or not rates:
        return None
    where = f"{label(best.params, found.names)} serves" if found.names else "It serves"
    return (
        f"{where} {', '.join(rates)}; a request takes {seconds(request.p50_s.mean)} (p50) and "
        f"{seconds(request.p95_s.mean)} (p95)."
    )


def _restore(found: Generation) -> str | None:
    known = [(p, p.restore_share) for p in found.points if p.restore_share is not None]
    high = [(p, s) for p, s in known if s >= MAX_RESTORE_SHARE]
    if not known:
        return None
    if not high:
        most = number(100 * max(s for _, s in known), 2)
        return f"Putting the cache back as it was before each decode step takes at most {most} % of its time."
    parts = ", ".join(f"{percent(s)}{_at(found, p)}" for p, s in high)
    return (
        "Decode holds work that a request does not, putting the cache back before each step, which takes more than "
        f"{percent(MAX_RESTORE_SHARE)} of its time ({parts}): its joules per token are that much too high."
    )


def _memory(found: Generation) -> str | None:
    known = [p for p in found.points if p.memory_bytes is not None]
    if not known:
        return None
    most = max(known, key=lambda p: p.memory_bytes or 0)
    share = "" if most.memory_share is None else f", {percent(most.memory_share)} of the limit"
    where = _at(found, most)
    return f"Peak memory is{' at most' if len(known) > 1 else ''} {octets(most.memory_bytes)}{where}{share}."


def _latency(found: Generation) -> str | None:
    if not any(part.p50_s for p in found.points for part in p.parts.values()):
        return None
    return (
        "A step is one batch, and latencies are of steps: the time to the first token is prefill's; the time per "
        "output token is decode's over the tokens each sequence gets in it. Nothing waits in a queue here."
    )


def _lost(found: Generation) -> str | None:
    if not found.lost:
        return None
    counts = ", ".join(f"{n} {status}" for status, n in found.lost.items())
    return f"Trials without a value are left out: {counts}."


def _row(point: Generator) -> dict[str, object]:
    row: dict[str, object] = {"trials": point.trials, **{n: Exact(v) for n, v in point.params.items()}}
    for name in PHASES:
        part = point.parts.get(name)
        if part is not None:
            row |= _phase_cells(name, part)
    row |= {
        **estimate_cells("s_per_output_token", point.per_token_s(lambda p: p.mean_s)),
        **estimate_cells("requests_per_s", point.requests_per_s),
        **estimate_cells("prefill_share", point.share(PREFILL)),
        **estimate_cells("decode_share", point.share(DECODE)),
        **estimate_cells("closure", point.closure),
        "decode_restore_share": point.restore_share,
        "peak_memory_bytes": point.memory_bytes,
        "memory_limit_bytes": point.memory_limit_bytes,
    }
    return row


def _phase_cells(name: str, part: Part) -> dict[str, object]:
    unit = part.cost.unit
    return {
        **estimate_cells(f"{name}_{unit}s_per_j", part.cost.units_per_j),
        **estimate_cells(f"{name}_j_per_{unit}_gross", part.cost.gross),
        **estimate_cells(f"{name}_j_per_{unit}_net", part.cost.net),
        f"{name}_kind": part.cost.kind,
        f"{name}_flops_per_{unit}": part.flops_per_unit,
        **estimate_cells(f"{name}_step_s", part.mean_s),
        **estimate_cells(f"{name}_step_p50_s", part.p50_s),
        **estimate_cells(f"{name}_step_p95_s", part.p95_s),
    }
