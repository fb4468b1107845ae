"""Command `joulebench hardware`: host, hardware profile and meters, of this machine or of a cluster's nodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from joulebench.commands.options import MeterOption, RayOption, refuse_unused
from joulebench.commands.printing import say

if TYPE_CHECKING:
    from joulebench.cluster.connection import Node
    from joulebench.cluster.probe import Probe
    from joulebench.meters.probe import Probed
    from joulebench.meters.select import MeterStatus
    from joulebench.spec.hardware import Fact, HardwareProfile, Host

GIB = 2**30

#: Field of a profile -> label, printed unit, and size of that unit in base units.
_FACTS = {
    "tdp_w": ("TDP (board power)", "W", 1.0),
    "idle_power_w": ("idle power", "W", 1.0),
    "memory_bytes": ("memory", "GiB", float(GIB)),
    "memory_bandwidth_bytes_per_s": ("memory bandwidth", "GB/s", 1e9),
    "cpu_tdp_w": ("CPU TDP", "W", 1.0),
    "ram_power_w": ("RAM power", "W", 1.0),
    "grid_intensity_g_per_kwh": ("grid intensity", "g CO2e/kWh", 1.0),
    "pue": ("PUE", "", 1.0),
}


def hardware(
    context: typer.Context,
    profile: Annotated[
        str | None, typer.Argument(metavar="PROFILE", help="Profile to show; default: this host's.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="List every profile; * marks those that match this host.")
    ] = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Read each counter for seconds: how often it moves, and by how much.")
    ] = False,
    meter: MeterOption = None,
    ray: RayOption = None,
) -> None:
    """Show this host, its hardware profile and its meters.

    Every fact of the profile is given with its source. --meter watches a live meter for some seconds. --ray shows
    the nodes of a cluster instead.
    """
    if everything or ray is not None:
        names = ("profile", "meter", "probe") if ray is None else ("profile", "meter", "everything", "probe")
        refuse_unused(context, names, "not read with --all" if ray is None else "not read with --ray")
    if ray is not None:
        say(*cluster_lines(ray))
        return
    from joulebench.spec.catalog import all_profiles, find_profile
    from joulebench.spec.hardware import choose_profile, detect_host, mismatch

    host = detect_host()
    if everything:
        say(*catalogue_lines(all_profiles(), host))
        return
    say(*host_lines(host))
    chosen = find_profile(profile) if profile else choose_profile(all_profiles(), host)
    say("", *profile_lines(chosen, mismatch(chosen, host)))
    from joulebench.meters.select import availability

    say("", *meter_lines(availability(host, chosen, files=meter or ())))
    if probe:
        from joulebench.host.clock import RealClock
        from joulebench.meters.probe import probe_all

        say("", *probe_lines(list(probe_all(RealClock()))))


def probe_lines(results: Sequence[Sequence[Probed] | str]) -> Iterator[str]:
    """List what each counter was seen to do; a meter that failed has its message."""
    yield "Counters, as they moved here"
    if not results:
        yield "  no RAPL counter can be read; what a GPU's counter does stands with its meter above"
    for result in results:
        if isinstance(result, str):
            yield f"  failed: {result}"
            continue
        for counter in result:
            name = f"  {counter.domain:<6} {counter.source:<16}"
            if counter.period_s is None or counter.longest_s is None or counter.resolution_j is None:
                yield f"{name}  moved less than three times in {counter.seconds:g} s"
                continue
            yield (
                f"{name}  every {1e3 * counter.period_s:.3g} ms, at most {1e3 * counter.longest_s:.3g} ms; least "
                f"step {counter.resolution_j:.3g} J; a read of the meter takes {1e3 * counter.read_s:.2g} ms"
            )


def host_lines(host: Host) -> Iterator[str]:
    """Describe the host."""
    yield "Host"
    where = "virtual machine" if host.virtual else "no hypervisor detected"
    yield f"  CPU           {host.cpu}, {host.logical_cpus} logical CPUs, {where}"
    memory = "not known" if host.memory_bytes is None else f"{host.memory_bytes / GIB:.1f} GiB"
    yield f"  memory        {memory}"
    yield f"  accelerators  {_counted((*host.accelerators, *host.unmetered)) or 'none'}"
    yield from (f"  not reached   {gpu}" for gpu in host.lost)
    yield from family_lines(host.cpu_family)


def family_lines(name: str | None) -> Iterator[str]:
    """Say what servers with this family of CPUs draw; reports widen the range of modelled joules by it."""
    from joulebench.spec.cpu_families import FAMILIES, SOURCE

    if name is None:
        yield "  CPU family    not among those whose power is published"
        return
    family = FAMILIES[name]
    idle, full = (f"{low:g} to {high:g} W" for low, high in (family.idle_w, family.full_w))
    yield f"  CPU family    {family.title}; {family.servers} published servers draw, by hardware thread,"
    yield f"                {idle} idle and {full} at full load (10th to 90th percentile, whole servers)"
    yield f"                {SOURCE}"


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{names.count(n)} × {n}" if names.count(n) > 1 else n for n in dict.fromkeys(names))


def profile_lines(profile: HardwareProfile, difference: str | None = None) -> Iterator[str]:
    """Describe a profile with the source and date of every fact; `difference`: how it differs from this host."""
    yield f"Hardware profile {profile.name}: {profile.title}"
    if difference:
        yield f"  does not match this host: {difference}"
    facts = list(_facts(profile))
    for label, value, fact in facts:
        yield f"  {label:<20}  {value}"
        yield f"  {'':<20}    {fact.source} ({fact.date})"
    if not facts:
        yield "  no power figures and no peaks: CodeCarbon estimates what cannot be measured"
    if profile.grid_intensity_g_per_kwh is None and profile.country is None:
        yield "  no carbon: set country or grid_intensity_g_per_kwh, or give --country to a run"


def _facts(profile: HardwareProfile) -> Iterator[tuple[str, str, Fact]]:
    for field, (label, unit, size) in _FACTS.items():
        fact: Fact | None = getattr(profile, field)
        if fact is not None:
            yield label, f"{fact.value / size:g} {unit}".rstrip(), fact
    for dtype, fact in profile.peak_flops.items():
        unit = "TOP/s" if dtype.startswith("int") else "TFLOP/s"
        yield f"peak {dtype}", f"{fact.value / 1e12:g} {unit}", fact


def meter_lines(meters: Iterable[MeterStatus]) -> Iterator[str]:
    """List every meter: available, or why not and how to enable it."""
    yield "Meters"
    for meter in meters:
        if meter.available:
            state = f"available: {meter.detail}" if meter.detail else "available"
        else:
            remedy = f"; to enable: {meter.remedy}" if meter.remedy else ""
            state = f"unavailable because {meter.detail}{remedy}"
        yield f"  {meter.domain:<6} {meter.source:<16} {meter.kind:<9}  {state}"


def catalogue_lines(profiles: Iterable[HardwareProfile], host: Host) -> Iterator[str]:
    """List every profile in a line; * marks those that match this host."""
    for profile in profiles:
        mark = "*" if profile.fits(host) else " "
        yield f"{mark} {profile.name:<22} {profile.title}"


def cluster_lines(address: str) -> list[str]:
    """Describe every node of the cluster; a node that is measuring is not disturbed.

    Raises:
        InputError: there is no such cluster, or Ray is not installed.
    """
    from joulebench.cluster.connection import alive_nodes, connected
    from joulebench.cluster.probe import probe

    with connected(address):
        nodes = alive_nodes()
        profiles = _served(nodes)
        answers = probe(profiles, nodes)
    return [line for node in nodes for line in _node_lines(node, profiles.get(node.id), answers.get(node.id))]


def _served(nodes: list[Node]) -> dict[str, HardwareProfile]:
    """Find the catalogue profile of each node, by node id; the first, if several."""
    from joulebench.spec import catalog

    known = catalog.profile_files()
    labels = {node.id: next((label for label in node.labels if label in known), None) for node in nodes}
    return {key: catalog.find_profile(label) for key, label in labels.items() if label is not None}


def _node_lines(node: Node, profile: HardwareProfile | None, answer: Probe | None) -> Iterator[str]:
    """Describe a node; `answer`: its host and meters, or why there are none."""
    from joulebench.cluster.connection import SLOT
    from joulebench.spec.hardware import mismatch

    yield f"Node {node.name} ({node.hostname})"
    yield f"  resources     {_resources(node.resources) or 'none'}"
    if profile is None:
        yield "  not used: no resource is named after a hardware profile of the catalogue"
        yield ""
        return
    if not node.has_slot:
        yield f"  cannot measure: it has no resource {SLOT} = 1"
    if answer is None or isinstance(answer, str):
        yield f"  {answer or 'unknown'}"
        yield ""
        return
    host, statuses = answer
    yield from (f"  {line}" for line in host_lines(host))
    difference = mismatch(profile, host)
    head = list(profile_lines(profile, difference))[: 2 if difference else 1]  # without the facts
    yield from (f"  {line}" for line in (*head, *meter_lines(statuses)))
    yield ""


def _resources(resources: Mapping[str, float]) -> str:
    shown = {n: v for n, v in resources.items() if ":" not in n and "memory" not in n}
    return ", ".join(f"{name} {value:g}" for name, value in sorted(shown.items()))
