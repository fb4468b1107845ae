"""Report section on text generation: energy per token, latency and memory of requests, prefill and decode. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from joulebench.presentation.axis import Axis
from joulebench.presentation.numbers import number, octets, percent, ratio_percent, seconds
from joulebench.presentation.plots import Plot, Series
from joulebench.presentation.rows import Exact, estimate_cells
from joulebench.presentation.section import Section
from joulebench.presentation.series import along, estimates, value_axis
from joulebench.presentation.table import label, show
from joulebench.presentation.units import in_words, plain
from joulebench.presentation.wide import wide_flag
from joulebench.presentation.words import domains, kind, listed, times
from joulebench.results.phase_runs import PhaseRuns
from joulebench.results.run import Run
from joulebench.stats.estimate import Estimate
from joulebench.stats.intervals import ratio
from joulebench.studies.base import Study
from joulebench.studies.generation.analysis import (
    CLOSURE_TOLERANCE,
    CUT,
    DECODE,
    MAX_RESTORE_SHARE,
    PADDING,
    PHASES,
    PREFILL,
    REQUEST,
    Generation,
    Generator,
    generation,
)
from joulebench.studies.generation.tables import tables

#: Configurations that a sentence names.
MAX_NAMED = 8
STEPS = (
    "A step processes one batch, and latencies are times of whole steps: time to first token is that of a prefill "
    "step; time per output token is that of a decode step divided by the tokens per sequence. There is no queueing."
)

Read = Callable[[Generator], Estimate | None]


class GenerationStudy(Study[Generation]):
    """Text generation: energy per token, latency and memory of whole requests, prefill and decode."""

    name = "generation"

    def analyse(self, run: Run) -> Generation | None:
        return generation(run)

    def section(self, result: Generation, run: Run) -> Section:
        phases = [part for point in result.points for part in point.parts.values()]
        left_out = ", ".join(f"{n} {status}" for status, n in result.left_out.items())
        sentences = (
            f"Energy is over {domains(result.domains)} and {kind(result.kind)}. "
            + (
                "It is gross: idle power is not known, so there is no net energy."
                if all(part.net is None for part in phases)
                else "Net is gross less idle power × time, where idle power is known."
            ),
            _per_token(result),
            _closure(result),
            _throughput(result),
            _restore(result),
            _prompts(result),
            _memory(result),
            STEPS if any(part.step_mean for part in phases) else None,
            f"Trials without a value are left out: {left_out}." if left_out else None,
        )
        return Section(
            name="generation",
            title="Generation: prefill and decode",
            answer=_answer(result),
            sentences=tuple(filter(None, sentences)),
            plots=_figures(result),
            tables=tables(result),
            rows=tuple(_row(p) for p in result.points),
        )


def _answer(generation: Generation) -> str:
    best = generation.best
    if best is None:
        return "No configuration has a valid window of a whole request or of decode."
    name = REQUEST if REQUEST in best.parts else DECODE
    phase = best.parts[name]
    where = ""
    if len(generation.points) > 1:
        among = f"the most efficient of {len(generation.points)} configurations"
        where = f"at {label(best.params, generation.names)}, {among}, "
    rate = "" if phase.units_per_j is None else f", {number(phase.units_per_j.mean)} {plain(phase.unit)}s/J"
    text = (
        f"{where}{'a request' if name == REQUEST else 'decode'} takes "
        f"{in_words(phase.gross, f'J/{plain(phase.unit)}')} gross "
        f"({phase.kind}{wide_flag(phase.gross, generation.run.task.protocol)}{rate})"
    )
    shares = ((name, best.share(name)) for name in (PREFILL, DECODE))
    known = [f"{name} takes {percent(share.mean)}" for name, share in shares if share is not None]
    if known:
        text += f"; {' and '.join(known)} of a request's energy"
    prefill, each = best.parts.get(PREFILL), best.per_token_s(lambda p: p.step_mean)
    if prefill is not None and prefill.step_mean is not None and each is not None:
        text += f"; time to first token {seconds(prefill.step_mean.mean)}, per output token {seconds(each.mean)}"
    return f"{text[0].upper()}{text[1:]}."


def _at(generation: Generation, *points: Generator) -> str:
    """` at batch_size 1, 2 and 4 more`; nothing where there is only one configuration."""
    if not generation.names:
        return ""
    if len(generation.names) == 1:
        (name,) = generation.names
        return f" at {name} {listed([show(p.params[name]) for p in points], MAX_NAMED)}"
    return f" at {listed([label(p.params, generation.names) for p in points], MAX_NAMED, joint='; ')}"


def _per_token(generation: Generation) -> str | None:
    best = generation.best
    if best is None or PREFILL not in best.parts or DECODE not in best.parts:
        return None
    decode, prefill = best.parts[DECODE], best.parts[PREFILL]
    quotient = ratio(decode.gross, prefill.gross)
    if quotient is None or decode.domains != prefill.domains:
        return None
    more = times(quotient, f" the energy of a {plain(prefill.unit)}")
    return (
        f"A {plain(decode.unit)} of decode takes {more}{_at(generation, best)}: prefill processes all tokens of a "
        "prompt at once, decode one token of each sequence at a time."
    )


def _closure(generation: Generation) -> str | None:
    """Whether prefill and decode, each measured in its own windows, add up to the request measured whole."""
    known = [(p, c) for p in generation.points if (c := p.closure) is not None]
    if not known:
        return None
    point, best = next(((p, c) for p, c in known if p is generation.best), known[0])
    ends = ""
    if best.low is not None and best.high is not None:
        ends = f" [{ratio_percent(best.low)}, {ratio_percent(best.high)}]"
    text = (
        f"Prefill and decode, measured separately, add up to {ratio_percent(best.mean)}{ends} of a request "
        f"measured whole{_at(generation, point)}"
    )
    if len(known) > 1:
        means = sorted(c.mean for _, c in known)
        span = " to ".join(dict.fromkeys(ratio_percent(m) for m in (means[0], means[-1])))
        text += f", and to {span} over {len(known)} configurations"
    if all(p.closes for p, _ in known):
        return f"{text}: equal within {percent(CLOSURE_TOLERANCE)} or within the interval."
    unequal = [p for p, _ in known if p.closes is False]
    if not unequal:
        return f"{text}: the intervals are too wide to decide whether they are equal."
    return (
        f"{text}. They do not add up{_at(generation, *unequal)}: the machine's state changed, or a phase omits "
        "work. Use the energy of the request there; the shares of its phases are rough."
    )


def _throughput(generation: Generation) -> str | None:
    best = generation.best
    if best is None or REQUEST not in best.parts:
        return None
    request = best.parts[REQUEST]
    rates = ((best.requests_per_s, "request"), (request.units_per_s, plain(request.unit)))
    known = [f"{number(rate.mean, 3)} {unit}s/s" for rate, unit in rates if rate is not None]
    middle, late = request.step_quantile(0.5), request.step_quantile(0.95)
    if middle is None or late is None or not known:
        return None
    where = label(best.params, generation.names) if generation.names else "It"
    return (
        f"{where} serves {', '.join(known)}; a request takes {seconds(middle.mean)} (p50) and {seconds(late.mean)} "
        "(p95)."
    )


def _restore(generation: Generation) -> str | None:
    known = [(p, p.restore_share) for p in generation.points if p.restore_share is not None]
    high = [(p, s) for p, s in known if s >= MAX_RESTORE_SHARE]
    if not known:
        return None
    if not high:
        most = number(100 * max(s for _, s in known), 2)
        return f"Restoring the KV cache before each decode step takes at most {most} % of decode's time."
    parts = ", ".join(f"{percent(s)}{_at(generation, p)}" for p, s in high)
    return (
        "Decode includes work that a request does not, restoring the KV cache before each step, which takes more "
        f"than {percent(MAX_RESTORE_SHARE)} of its time ({parts}) and inflates its energy per token by that share."
    )


def _prompts(generation: Generation) -> str | None:
    """How the prompts of a file fit into the one length that all are given."""
    known = [(p, share, p.metric(CUT)) for p in generation.points if (share := p.metric(PADDING)) is not None]
    if not known:
        return None
    parts = [f"{percent(share)} and {percent(cut)}{_at(generation, p)}" for p, share, cut in known[:MAX_NAMED]]
    more = f", and {len(known) - MAX_NAMED} more" if len(known) > MAX_NAMED else ""
    return (
        "Prompts are those of a file, all of one length: shorter ones are padded on the left (masked, but "
        f"computed), longer ones cut. Share of padding, and of prompts that are cut: {'; '.join(parts)}{more}."
    )


def _memory(generation: Generation) -> str | None:
    known = [p for p in generation.points if p.memory_bytes is not None]
    if not known:
        return None
    most = max(known, key=lambda p: p.memory_bytes or 0)
    share = "" if most.memory_share is None else f", {percent(most.memory_share)} of the limit"
    where = _at(generation, most)
    return f"Peak memory is{' at most' if len(known) > 1 else ''} {octets(most.memory_bytes)}{where}{share}."


def _row(point: Generator) -> dict[str, object]:
    row: dict[str, object] = {"trials": point.trials, **{n: Exact(v) for n, v in point.params.items()}}
    for name, part in point.parts.items():
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


def _figures(generation: Generation) -> tuple[Plot, ...]:
    """Energy and latency over the configurations; none of a single one."""
    points = generation.points
    if len(points) < 2:
        return ()
    x, places = along([p.params for p in points], generation.names)

    def lines(
        reads: Sequence[tuple[str, Read]], unit: str, title: Callable[[str], str], detail: str
    ) -> tuple[Axis, tuple[Series, ...]]:
        values = [(name, [read(p) for p in points]) for name, read in reads]
        y = value_axis([v.mean for _, vs in values for v in vs if v is not None], unit, title, detail=detail)
        return y, tuple(estimates(name, places, vs, y, x.name is not None) for name, vs in values)

    units = {name: part.unit for p in points for name, part in p.parts.items()}
    energy = [(f"{name}, per {plain(units[name])}", _gross(name)) for name in PHASES if name in units]
    detail = f"{generation.kind}, {domains(generation.domains)}"
    y, series = lines(energy, "J", lambda unit: f"{unit} per unit, gross", detail)
    alt = f"Gross energy per token against {x.title}: {', '.join(s.name for s in series)}."
    energy_plot = Plot("generation-energy", f"Energy per token by {x.title}", alt, x, y, series)

    latency: list[tuple[str, Read]] = [
        ("request, p95", _p95(REQUEST)),
        ("time to first token, p95", _p95(PREFILL)),
        ("time per output token, p95", lambda p: p.per_token_s(lambda part: part.step_quantile(0.95))),
    ]
    y, series = lines(latency, "s", lambda unit: f"latency, {unit}", "of steps")
    alt = f"95 % quantiles of latency against {x.title}: {', '.join(s.name for s in series if s.x)}."
    latency_plot = Plot("generation-latency", f"Latency by {x.title}", alt, x, y, series)
    return tuple(plot for plot in (energy_plot, latency_plot) if plot.drawn)


def _gross(phase: str) -> Read:
    return lambda p: p.parts[phase].gross if phase in p.parts else None


def _p95(phase: str) -> Read:
    return lambda p: p.parts[phase].step_quantile(0.95) if phase in p.parts else None
