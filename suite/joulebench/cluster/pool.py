"""The workers of a cluster run as its driver sees them: started, given trials, replaced when they are lost."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from joulebench.cluster.connection import SLOT, Node, alive_nodes, pinned, ray_module
from joulebench.cluster.lanes import Hand, Lane, difference
from joulebench.cluster.worker import Checked, Done, Here, Ready, Refused, Scored, Worker
from joulebench.errors import IncompleteError, InputError
from joulebench.records.model import LedgerEntry, TrialRecord
from joulebench.results.consistency import PRECHECK
from joulebench.runner import meter_check
from joulebench.runner.scheduling import Place
from joulebench.runner.trials import Order, Trials

TICK_S = 1.0  # between looks for nodes that have come, or come back
START_S = 180.0  # for a worker's process to stand
PATIENCE_S = 60.0  # without any node, before a run is given up for now
MAX_FALLS = 3  # of workers on a node before their first trial: the node is left alone
#: What a worker is at while nothing else may happen on its node.
_MEASURING = ("trial", "precheck", "score")


class Crew:
    """Executes the trials of all lanes; see `joulebench.runner.scheduling.Executor`."""

    def __init__(
        self, lanes: Sequence[Lane], driver: Node | None, data: Path | None, say: Callable[[str], None]
    ) -> None:
        """`driver`: the node that this process is on; `data`: a path that nodes may have or not."""
        self._ray = ray_module()
        self._lanes, self._driver, self._say = list(lanes), driver, say
        self._data = None if data is None else str(data)
        self._arrays: Any = None
        self._refs: dict[Any, Hand] = {}
        self._looked_s = 0.0
        self._last = ""
        for lane in self._lanes:
            for node in lane.nodes:
                self._hire(lane, node)

    def _hire(self, lane: Lane, node: Node) -> None:
        """A worker that takes the node whole: nothing else that asks Ray for room comes beside it."""
        taken = {name: node.resources[name] for name in (SLOT, lane.hardware)}
        actor = (
            self._ray.remote(Worker)
            .options(
                num_cpus=node.resources.get("CPU", 0),
                num_gpus=node.resources.get("GPU", 0),
                resources=taken,
                max_restarts=0,
                scheduling_strategy=pinned(node),
            )
            .remote(lane.run, node.name)
        )
        hand = Hand(node, lane, actor)
        lane.hands.append(hand)
        lane.alone_s = None
        self._refs[actor.here.remote(self._data)] = hand

    def meet(self) -> dict[str, list[Here]]:
        """Wait until every worker that was hired stands; what each says of its node, by hardware.

        Raises:
            InputError: one does not come, or has another joulebench.
        """
        self._until("met")
        return {lane.hardware: [hand.here for hand in lane.hands if hand.here] for lane in self._lanes}

    def gather(self, arrays: Any) -> None:
        """The lanes have their plans: wait until every worker is ready to measure.

        Args:
            arrays: Ray's reference to the data, where nodes do not read their own.

        Raises:
            InputError: one refuses, or two of one hardware are not alike.
        """
        self._arrays = arrays
        for lane in self._lanes:
            for hand in lane.hands:
                self._prepare(hand)
        self._until("idle")

    def _until(self, at: str) -> None:
        while any(hand.at != at for lane in self._lanes for hand in lane.hands):
            self._pass_time()
        for lane in self._lanes:
            if not lane.hands:
                raise InputError(f"no node of hardware {lane.hardware} could be made ready: {self._last}")

    def _prepare(self, hand: Hand) -> None:
        began_s = hand.lane.began_s.get(hand.mark, 0.0)
        self._send(hand, "prepare", hand.actor.prepare.remote(hand.lane.plan, began_s, self._arrays))

    def open(self) -> None:
        """The lanes have their trials: what was spent on getting ready goes into their ledgers."""
        for lane in self._lanes:
            for name, ready in lane.readied:
                self._readied(lane, name, ready)
            lane.readied.clear()
            for hand in lane.hands:
                self._first(hand)

    def _readied(self, lane: Lane, name: str, ready: Ready) -> None:
        if lane.trials is None:
            lane.readied.append((name, ready))
            return
        lane.trials.enter("span", f"worker on node {name}", windows=ready.windows, node=ready.node)

    def _first(self, hand: Hand) -> None:
        """What a worker does before its first trial."""
        if hand.lane.check and hand.lane.trials is not None and not hand.lane.trials.finished:
            self._send(hand, "precheck", hand.actor.precheck.remote(hand.lane.plan.seed))
        else:
            hand.at = "idle"

    def _send(self, hand: Hand, at: str, ref: Any) -> None:
        hand.at, hand.since_s = at, time.monotonic()
        self._refs[ref] = hand

    # What `conduct` asks for

    @property
    def may_propose(self) -> bool:
        return not any(h.at in _MEASURING for h in self._on_own_node())

    def _on_own_node(self) -> list[Hand]:
        own = self._driver.name if self._driver else None
        return [hand for lane in self._lanes for hand in lane.hands if hand.node.name == own]

    def ahead(self, lane: Trials) -> int:
        return len(self._of(lane).hands) if self._on_own_node() else 0

    def place(self, lane: Trials) -> Place | None:
        hand = self._idle(self._of(lane))
        return Place(hand.mark) if hand else None

    def _idle(self, lane: Lane, mark: str | None = None) -> Hand | None:
        return next((h for h in lane.hands if h.at == "idle" and mark in (None, h.mark)), None)

    def _of(self, trials: Trials) -> Lane:
        return next(lane for lane in self._lanes if lane.trials is trials)

    def begin(self, place: Place, lane: Trials, order: Order) -> None:
        hand = self._idle(self._of(lane), place.node)
        assert hand is not None, "a place is an idle worker's"
        hand.order = order
        self._send(hand, "trial", hand.actor.trial.remote(order))

    @property
    def working(self) -> bool:
        return any(hand.at == "trial" for lane in self._lanes for hand in lane.hands)

    def stranded(self, lane: Trials) -> bool:
        alone_s = self._of(lane).alone_s
        return alone_s is not None and time.monotonic() - alone_s > PATIENCE_S

    def wait(self) -> None:
        self._pass_time()
        if time.monotonic() - self._looked_s > TICK_S:
            self._recruit()

    # What happens meanwhile

    def _pass_time(self) -> None:
        if not self._refs:
            time.sleep(TICK_S / 10)
            return
        for ref in self._arrived():
            self._collect(ref, self._refs.pop(ref))
        for hand in [h for h in self._refs.values() if h.at == "start"]:
            if time.monotonic() - hand.since_s > START_S:
                self._gone(hand, f"no worker has come up in {START_S:g} s; other work may hold the node's CPUs")

    def _arrived(self) -> list[Any]:
        """Everything that has come, after the first has or a tick has passed."""
        ready, _ = self._ray.wait(list(self._refs), num_returns=1, timeout=TICK_S)
        if ready:
            ready, _ = self._ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0)
        return list(ready)

    def _collect(self, ref: Any, hand: Hand) -> None:
        errors = self._ray.exceptions
        try:
            result = self._ray.get(ref)
        except errors.RayTaskError:
            raise  # a fault of the program, as it would be on one machine
        except errors.RayError as error:
            self._gone(hand, _first_line(error))
            return
        match result:
            case Here():
                self._met(hand, result)
            case Refused():
                self._refused(hand, result)
            case Ready():
                self._ready(hand, result)
            case Checked():
                hand.at = "idle"
                self._checked(hand, result)
            case Done():
                self.deliver(hand, result)

    def _met(self, hand: Hand, here: Here) -> None:
        hand.here, hand.mark, hand.at = here, here.node, "met"
        if here.joulebench != metadata.version("joulebench"):
            self._unfit(hand, f"has joulebench {here.joulebench}, here is {metadata.version('joulebench')}")
        elif hand.lane.trials is not None:
            self._prepare(hand)

    def _ready(self, hand: Hand, ready: Ready) -> None:
        lane = hand.lane
        if lane.facts is None:
            lane.facts = ready.facts
        elif (unlike := difference(lane.facts, ready.facts)) is not None:
            self._unfit(hand, f"is not like the other nodes of {lane.hardware}: {unlike}")
            return
        self._readied(lane, hand.node.name, ready)
        self._first(hand)

    def _checked(self, hand: Hand, checked: Checked) -> None:
        trials = hand.lane.trials
        assert trials is not None, "a precheck follows the folder"
        trials.enter("span", PRECHECK, windows=checked.windows, node=hand.mark)
        entry = LedgerEntry(session=trials.session, event="span", windows=checked.windows, note=PRECHECK)
        meter_check.judge(hand.lane.plan, entry, checked.error, trials.say, f"node {hand.node.name}: ")

    def deliver(self, hand: Hand, done: Done) -> None:
        """A trial's result has come; one of another run, or one that came before, is dropped."""
        trials, order = hand.lane.trials, hand.order
        if trials is None or done.run != hand.lane.run:
            self._say(f"a result of another run ({done.run}) is dropped")
            return
        if order is not None and order.request.trial == done.record.trial:
            hand.at, hand.order = "idle", None
        for kind, text in done.notes:
            trials.say(kind, text)
        trials.keep(done.record, lambda: self._weights(hand))

    def _weights(self, hand: Hand) -> Any:
        try:
            return self._ray.get(hand.actor.weights.remote())
        except self._ray.exceptions.RayError as error:
            self._say(f"node {hand.node.name}: the weights of its last trial are lost ({_first_line(error)})")
            return None

    def _refused(self, hand: Hand, refused: Refused) -> None:
        where = f"node {hand.node.name}: {refused.text}"
        if hand.at == "trial" and refused.meter:  # its joules cannot be trusted from here on; the others' can
            self._gone(hand, refused.text)
            hand.lane.falls[hand.node.id] = MAX_FALLS
        elif hand.at == "prepare" and hand.lane.trials is not None:
            self._unfit(hand, refused.text)
        else:
            began = hand.lane.trials is not None
            raise IncompleteError(where) if refused.meter and began else InputError(where)

    def _unfit(self, hand: Hand, why: str) -> None:
        if hand.lane.trials is None:
            raise InputError(f"node {hand.node.name} {why}")
        hand.lane.falls[hand.node.id] = MAX_FALLS
        self._gone(hand, why)

    def _gone(self, hand: Hand, why: str) -> None:
        """The worker is lost: its trial is tried again, its node given another worker if it still stands."""
        lane = hand.lane
        self._ray.kill(hand.actor, no_restart=True)
        self._refs = {ref: other for ref, other in self._refs.items() if other is not hand}
        lane.hands.remove(hand)
        if hand.at in ("start", "prepare", "precheck"):
            lane.falls[hand.node.id] = lane.falls.get(hand.node.id, 0) + 1
        self._last = f"node {hand.node.name}: worker lost ({why})"
        self._say(self._last)
        if not lane.hands:
            lane.alone_s = time.monotonic()
        if hand.at == "trial" and hand.order is not None and lane.trials is not None:
            lane.trials.lost(hand.order.request, hand.mark, why)
        self._looked_s = 0.0

    def _recruit(self) -> None:
        """Workers for nodes that have none: a worker was lost, or the node is new."""
        self._looked_s = time.monotonic()
        nodes = alive_nodes()
        taken = {hand.node.name for lane in self._lanes for hand in lane.hands}
        for node in nodes:
            lane = next((lane for lane in self._lanes if lane.hardware in node.resources), None)
            if (
                lane is None
                or lane.trials is None
                or lane.trials.finished
                or not node.has_slot
                or node.name in taken
            ):
                continue
            if lane.falls.get(node.id, 0) < MAX_FALLS:
                taken.add(node.name)
                self._hire(lane, node)

    # After the trials

    def score(self, lane: Lane, trial: TrialRecord, state: Any) -> dict[str, float]:
        """Metrics on the test split, by any worker that is there.

        Raises:
            IncompleteError: none is left, or the one that is there refuses.
        """
        trials = lane.trials
        while trials is not None and (hand := self._idle(lane)) is not None:
            hand.at = "score"
            try:
                result = self._ray.get(hand.actor.score.remote(trial, state))
            except self._ray.exceptions.RayTaskError:
                raise
            except self._ray.exceptions.RayError as error:
                self._gone(hand, _first_line(error))
                continue
            hand.at = "idle"
            if isinstance(result, Refused):
                raise IncompleteError(f"node {hand.node.name}: {result.text}")
            assert isinstance(result, Scored)
            trials.enter("span", "scores", windows=result.windows, node=hand.mark)
            return result.metrics
        raise IncompleteError(f"no node of hardware {lane.hardware} is left to score on; resume later")

    def close(self) -> None:
        """Send everybody home; what was spent since the last record goes into the ledgers."""
        for lane in self._lanes:
            for hand in lane.hands:
                if hand.at == "idle" and lane.trials is not None:
                    self._dismiss(lane.trials, hand)
                self._ray.kill(hand.actor, no_restart=True)
            lane.hands.clear()
        self._refs.clear()

    def _dismiss(self, trials: Trials, hand: Hand) -> None:
        try:
            windows = self._ray.get(hand.actor.close.remote(), timeout=START_S)
        except self._ray.exceptions.RayError as error:
            self._say(f"node {hand.node.name}: its last windows are lost ({_first_line(error)})")
            return
        trials.enter("span", f"worker on node {hand.node.name} ends", windows=windows, node=hand.mark)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
