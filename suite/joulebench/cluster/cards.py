"""Equal GPUs of this machine, on which trials of one run go on beside each other: which they are, and what a task
may ask of such trials."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

from joulebench.cluster.connection import SLOT, Node
from joulebench.errors import InputError
from joulebench.host.device import nvml_gpu
from joulebench.meters.nvml_sensor import text_of
from joulebench.spec.objectives import Quantity
from joulebench.spec.task import Task

#: Prints the UUIDs of the GPUs that torch can use, in its order; in a process of its own, since one that has asked
#: torch stays on the GPUs, where workers would take it for somebody else's.
_LIST = "import torch; print(*(torch.cuda.get_device_properties(i).uuid for i in range(torch.cuda.device_count())))"
LIST_S = 120.0
GPU = "gpu"
Q = TypeVar("Q", bound=Quantity)
ALONE = "--set cluster.gpu_alone=true"


@dataclass(frozen=True)
class Card:
    """One GPU: its UUID, and what makes it equal to another."""

    uuid: str
    name: str
    memory_bytes: int | None
    power_limit_w: float | None

    @property
    def node(self) -> str:
        """Name of the node that its windows are of: the UUID's first part, as long as no two are alike in it."""
        return "-".join(self.uuid.split("-")[:2])


#: What has to be equal, in words.
_EQUAL = {"name": "name", "memory_bytes": "bytes of memory", "power_limit_w": "watts of power limit"}


def visible_gpus() -> list[str]:
    """UUIDs of the GPUs that torch can use, in its order.

    Raises:
        InputError: torch fails.
    """
    words = [sys.executable, "-P", "-c", _LIST]
    try:
        told = subprocess.run(words, capture_output=True, text=True, timeout=LIST_S, check=False)
    except subprocess.TimeoutExpired:
        raise InputError(f"--gpus: torch has not listed the GPUs in {LIST_S:g} s") from None
    if told.returncode:
        last = told.stderr.strip().splitlines()[-1:] or [f"exit code {told.returncode}"]
        raise InputError(f"--gpus: torch does not list the GPUs: {last[0]}")
    return told.stdout.split()


def equal_cards(count: int, visible: Callable[[], Sequence[str]] = visible_gpus, nvml: Any = None) -> list[Card]:
    """The first `count` GPUs that torch can use, if they are equal, whole, and known to NVML.

    Args:
        visible: lists UUIDs as torch gives them.
        nvml: `pynvml`, or what behaves like it.

    Raises:
        InputError: there are fewer, or they differ in name, memory or power limit, or one is cut in slices.
    """
    nvml = nvml or importlib.import_module("pynvml")
    uuids = list(visible())
    if len(uuids) < count:
        raise InputError(
            f"--gpus {count}: torch can use {len(uuids)} GPUs here (allowed: 2 to as many as there are)"
        )
    cards = [_card(nvml_gpu(uuid, nvml)[1], nvml) for uuid in uuids[:count]]
    for card in cards[1:]:
        if (unlike := difference(cards[0], card)) is not None:
            raise InputError(
                f"--gpus {count}: {card.uuid} differs from {cards[0].uuid} in {unlike}; equal GPUs only: "
                "CUDA_VISIBLE_DEVICES chooses them"
            )
    if len({card.node for card in cards}) < count:
        raise InputError(f"--gpus {count}: two of these are one GPU: {', '.join(card.uuid for card in cards)}")
    return cards


def _card(uuid: str, nvml: Any) -> Card:
    nvml.nvmlInit()
    try:
        handle = nvml.nvmlDeviceGetHandleByUUID(uuid)
        if _is_sliced(handle, nvml):
            raise InputError(
                f"--gpus: {uuid} is cut in slices (MIG), which have no energy counter of their own; whole GPUs only"
            )
        return Card(
            uuid,
            text_of(nvml.nvmlDeviceGetName(handle)),
            _asked(lambda: int(nvml.nvmlDeviceGetMemoryInfo(handle).total), nvml),
            _asked(lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000, nvml),
        )
    except nvml.NVMLError as error:
        raise InputError(f"--gpus: NVML does not answer for {uuid}: {error}") from None
    finally:
        nvml.nvmlShutdown()


def _is_sliced(handle: Any, nvml: Any) -> bool:
    return bool(_asked(lambda: nvml.nvmlDeviceGetMigMode(handle)[0], nvml))


def _asked(ask: Callable[[], Any], nvml: Any) -> Any:
    """An answer of NVML; None where the GPU does not have it."""
    try:
        return ask()
    except nvml.NVMLError:
        return None


def difference(one: Card, other: Card) -> str | None:
    """What makes two cards unequal, with both values; None if they are equal."""
    values = ((words, getattr(one, name), getattr(other, name)) for name, words in _EQUAL.items())
    return next((f"{words} ({b}, not {a})" for words, a, b in values if a != b), None)


def card_nodes(cards: Sequence[Card], hardware: str, cpus: int, machine: Node) -> list[Node]:
    """What each worker takes of this machine: a GPU, a slot, and its share of the CPUs."""
    share = {SLOT: 1.0, hardware: 1.0, "CPU": float(max(1, cpus // len(cards)))}
    return [Node(machine.id, card.node, machine.hostname, share, machine.address, card.uuid) for card in cards]


def recorded_cards(cards: Sequence[Card]) -> list[dict[str, Any]]:
    """Cards as the manifest holds them."""
    return [asdict(card) for card in cards]


def same_cards(
    recorded: Sequence[Mapping[str, Any]], path: object, find: Callable[[int], list[Card]] = equal_cards
) -> list[Card]:
    """The cards that a resumed run goes on with: as many as it began with, and equal to those.

    Raises:
        InputError: there are none such.
    """
    names = {field.name for field in fields(Card)}
    began = [Card(**each) for each in recorded if set(each) == names]
    if not began or len(began) < len(recorded):
        raise InputError(f"{path}: its manifest does not say which GPUs it began on")
    cards = find(len(began))
    if (unlike := difference(began[0], cards[0])) is not None:
        raise InputError(f"{path}: the GPUs here differ from those it began on in {unlike}")
    return cards


def moved(recorded: Sequence[Mapping[str, Any]], uuids: Iterable[str]) -> str:
    """What is said of a resumed run that goes on with other cards; empty if they are those it began on."""
    before, now = {str(each.get("uuid")) for each in recorded}, set(uuids)
    if before == now:
        return ""
    return f"{', '.join(sorted(before - now))} → equal ones, {', '.join(sorted(now - before))}"


def beside(task: Task) -> Task:
    """The task as trials beside each other can do it: on the GPU alone.

    They share CPU and RAM, whose joules cannot be told apart, and the CPU's time. Where the task says so
    (`cluster.gpu_alone`) its energy is that of the GPU.

    Raises:
        InputError: an objective or a constraint needs more than the GPU, and the task does not say so.
    """
    if not task.cluster.gpu_alone:
        for where, name, quantity in task.quantities():
            if (why := _needs_more(name, quantity)) is not None:
                raise InputError(f"--gpus: {where}: {why}; {ALONE} takes it so, and reports say it")
        return task
    return task.model_copy(
        update={
            "objectives": {name: _of_gpu(each) for name, each in task.objectives.items()},
            "constraints": {
                name: each if isinstance(each, str) else _of_gpu(each) for name, each in task.constraints.items()
            },
        }
    )


def _needs_more(name: str, quantity: Quantity) -> str | None:
    if quantity.domains is not None and set(quantity.domains) != {GPU}:
        more = " and ".join(domain for domain in quantity.domains if domain != GPU)
        return (
            f"trials beside each other share {more}, whose joules cannot be told apart (allowed: domains = ['gpu'])"
        )
    if quantity.holds_time(name):
        return "trials beside each other share the CPU, so a time is not that of a trial by itself"
    return None


def _of_gpu(quantity: Q) -> Q:
    return quantity if quantity.domains is None else quantity.model_copy(update={"domains": (GPU,)})
