"""The report's section on generating text: energy per token, latency and memory, prefill and decode apart. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from joulebench.presentation.numbers import number, octets, percent, ratio_percent, seconds
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.table import label, show
from joulebench.presentation.units import in_words, plain
from joulebench.presentation.wide import wide_flag
from joulebench.results.phase_runs import PhaseRuns
from joulebench.results.run import Run
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
        return generation(run)

    def section(self, result: Generation, run: Run) -> Section:
        return generation_section(result)


def generation_section(generation: Generation) -> Section:
    """Everything the report says of it."""
    return Section(
        name="generation",
        title="Generation: prefill and decode",
        answer=answer(generation),
        verdict=None,
        sentences=sentences(generation),
        plots=figures(generation),
        tables=tables(generation),
        rows=tuple(_row(p) for p in generation.points),
    )


def answer(generation: Generation) -> str:
    """What the most efficient configuration takes for a token, for what, and how fast."""
    best = generation.best
    if best is None:
        return "No configuration has a valid window of a whole request or of decode."
    where = ""
    if len(generation.points) > 1:
        n = len(generation.points)
        where = f"At {label(best.params, generation.names)}, the most efficient of {n} configurations, "
    name = REQUEST if REQUEST in best.parts else DECODE
    phase = best.parts[name]
    rate = "" if phase.units_per_j is None else f", {number(phase.units_per_j.mean)} {plain(phase.unit)}s/J"
    text = f"{where}{'a request' if name == REQUEST else 'decode'} takes {in_words(phase.gross, _per(phase.unit))}"
    text += f" gross ({phase.kind}{wide_flag(phase.gross, generation.run.task.protocol)}{rate})"
    parts = [p for p in (_shares(best), _pace(best)) if p]
    text = "; ".join((text, *parts))
    return f"{text[0].upper()}{text[1:]}."


def _at(generation: Generation, point: Generator) -> str:
    """` at batch_size 8`; nothing where there is only one configuration."""
    return f" at {label(point.params, generation.names)}" if generation.names else ""


def _at_all(generation: Generation, points: Sequence[Generator]) -> str:
    """` at batch_size 1, 2, 4`, the first few of them."""
    names = [_at(generation, p) for p in points]
    if len(generation.names) == 1:
        shown = [show(p.params[generation.names[0]]) for p in points]
        names = [f" at {generation.names[0]} {shown[0]}", *(f" {value}" for value in shown[1:])]
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ",".join(names[:MAX_NAMED]) + more


def _per(unit: str) -> str:
    return f"J/{plain(unit)}"


def _shares(point: Generator) -> str | None:
    shares = [(name, point.share(name)) for name in (PREFILL, DECODE)]
    known = [f"{name} {percent(share.mean)}" for name, share in shares if share is not None]
    return f"of a request's energy {' and '.join(known)}" if known else None


def _pace(point: Generator) -> str | None:
    prefill, each = point.parts.get(PREFILL), point.per_token_s(lambda p: p.step_mean)
    first = prefill.step_mean if prefill is not None else None
    if first is None or each is None:
        return None
    return f"the first token comes after {seconds(first.mean)}, each further one after {seconds(each.mean)}"


def sentences(generation: Generation) -> tuple[str, ...]:
    """What the numbers are of, whether the parts add up, and what is to be kept in mind."""
    parts = (
        _basis(generation),
        _per_token(generation),
        _closure(generation),
        _served(generation),
        _restore(generation),
        _memory(generation),
        _latency(generation),
        _lost(generation),
    )
    return tuple(part for part in parts if part)


def _basis(generation: Generation) -> str:
    domains = " + ".join(generation.domains)
    kind = "measured" if generation.kind == "measured" else "estimated, at least in part"
    base = f"Energy is over {domains} and {kind}."
    known = [part.net for p in generation.points for part in p.parts.values()]
    if all(net is None for net in known):
        return f"{base} It is gross: idle power is not known, so there is no net."
    return f"{base} Net is gross less idle power × time, where idle power is known."


def _per_token(generation: Generation) -> str | None:
    best = generation.best
    if best is None or PREFILL not in best.parts or DECODE not in best.parts:
        return None
    decode, prefill = best.parts[DECODE], best.parts[PREFILL]
    times = ratio(decode.gross, prefill.gross)
    if times is None or decode.domains != prefill.domains:
        return None
    where = _at(generation, best)
    return (
        f"A {plain(decode.unit)} made takes {_times(times)} the energy of a {plain(prefill.unit)} read{where}: "
        "prefill does all tokens of a prompt at once, decode one token of each sequence at a time."
    )


def _times(value: Estimate) -> str:
    ends = ""
    if value.low is not None and value.high is not None:
        ends = f" (95 % interval {number(value.low, 3)} to {number(value.high, 3)})"
    return f"{number(value.mean, 3)} times{ends}"


def _closure(generation: Generation) -> str | None:
    """Whether prefill and decode, each measured in windows of its own, add up to the request measured whole."""
    known = [(p, c) for p in generation.points if (c := p.closure) is not None]
    if not known:
        return None
    off = [p for p, _ in known if p.closes is False]
    best = next((c for p, c in known if p is generation.best), known[0][1])
    known_ends = best.low is not None and best.high is not None
    ends = f" [{ratio_percent(best.low)}, {ratio_percent(best.high)}]" if known_ends else ""
    whole = f"{ratio_percent(best.mean)}{ends} of a request measured whole"
    text = f"Prefill and decode, measured apart, add up to {whole}"
    if len(known) > 1:
        means = sorted(c.mean for _, c in known)
        where = _at(generation, generation.best) if generation.best else ""
        range_ = " to ".join(dict.fromkeys(ratio_percent(m) for m in (means[0], means[-1])))
        over = f"{range_} over {len(known)} configurations"
        text += f"{where}, and to {over}"
    if all(p.closes for p, _ in known):
        within = percent(CLOSURE_TOLERANCE)
        return f"{text}: they account for the request (within {within}, or within the interval)."
    if not off:
        return f"{text}: the intervals are too wide to say more."
    return (
        f"{text}. They do not account for it{_at_all(generation, off)}: the machine was in another state, or a "
        "phase leaves work out. Trust the request's own joules; the shares of its parts are rough there."
    )


def _served(generation: Generation) -> str | None:
    best = generation.best
    if best is None or REQUEST not in best.parts:
        return None
    request = best.parts[REQUEST]
    rates = []
    if best.requests_per_s is not None:
        rates.append(f"{number(best.requests_per_s.mean, 3)} requests/s")
    if request.units_per_s is not None:
        rates.append(f"{number(request.units_per_s.mean, 3)} {plain(request.unit)}s/s")
    middle, late = request.step_quantile(0.5), request.step_quantile(0.95)
    if middle is None or late is None or not rates:
        return None
    where = f"{label(best.params, generation.names)} serves" if generation.names else "It serves"
    return (
        f"{where} {', '.join(rates)}; a request takes {seconds(middle.mean)} (p50) and {seconds(late.mean)} (p95)."
    )


def _restore(generation: Generation) -> str | None:
    known = [(p, p.restore_share) for p in generation.points if p.restore_share is not None]
    high = [(p, s) for p, s in known if s >= MAX_RESTORE_SHARE]
    if not known:
        return None
    if not high:
        most = number(100 * max(s for _, s in known), 2)
        return f"Putting the cache back as it was before each decode step takes at most {most} % of its time."
    parts = ", ".join(f"{percent(s)}{_at(generation, p)}" for p, s in high)
    return (
        "Decode holds work that a request does not, putting the cache back before each step, which takes more than "
        f"{percent(MAX_RESTORE_SHARE)} of its time ({parts}): its joules per token are that much too high."
    )


def _memory(generation: Generation) -> str | None:
    known = [p for p in generation.points if p.memory_bytes is not None]
    if not known:
        return None
    most = max(known, key=lambda p: p.memory_bytes or 0)
    share = "" if most.memory_share is None else f", {percent(most.memory_share)} of the limit"
    where = _at(generation, most)
    return f"Peak memory is{' at most' if len(known) > 1 else ''} {octets(most.memory_bytes)}{where}{share}."


def _latency(generation: Generation) -> str | None:
    if not any(part.step_mean for p in generation.points for part in p.parts.values()):
        return None
    return (
        "A step is one batch, and latencies are of steps: the time to the first token is prefill's; the time per "
        "output token is decode's over the tokens each sequence gets in it. Nothing waits in a queue here."
    )


def _lost(generation: Generation) -> str | None:
    if not generation.lost:
        return None
    counts = ", ".join(f"{n} {status}" for status, n in generation.lost.items())
    return f"Trials without a value are left out: {counts}."


def _row(point: Generator) -> dict[str, object]:
    row: dict[str, object] = {"trials": point.trials, **{n: Exact(v) for n, v in point.params.items()}}
    for name in PHASES:
        part = point.parts.get(name)
        if part is not None:
            row |= _phase_cells(name, part)
    row |= {
        **estimate_cells("s_per_output_token", point.per_token_s(lambda p: p.step_mean)),
        **estimate_cells("requests_per_s", point.requests_per_s),
        **estimate_cells("prefill_share", point.share(PREFILL)),
        **estimate_cells("decode_share", point.share(DECODE)),
        **estimate_cells("closure", point.closure),
        "decode_restore_share": point.restore_share,
        "peak_memory_bytes": point.memory_bytes,
        "memory_limit_bytes": point.memory_limit_bytes,
    }
    return row


def _phase_cells(name: str, part: PhaseRuns) -> dict[str, object]:
    unit = part.unit
    return {
        **estimate_cells(f"{name}_{unit}s_per_j", part.units_per_j),
        **estimate_cells(f"{name}_j_per_{unit}_gross", part.gross),
        **estimate_cells(f"{name}_j_per_{unit}_net", part.net),
        f"{name}_kind": part.kind,
        f"{name}_flops_per_{unit}": part.flops_per_unit,
        **estimate_cells(f"{name}_step_s", part.step_mean),
        **estimate_cells(f"{name}_step_p50_s", part.step_quantile(0.5)),
        **estimate_cells(f"{name}_step_p95_s", part.step_quantile(0.95)),
    }
