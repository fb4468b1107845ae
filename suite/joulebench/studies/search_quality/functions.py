"""Test functions of search methods, without noise; called by the workload `function`."""

from __future__ import annotations

import math
import random
from functools import lru_cache
from itertools import pairwise
from typing import cast

from joulebench.spec.parameters import Params
from joulebench.workloads.base import InfeasibleError

Metrics = dict[str, float]

CLIFFS = 3
CLIFF_DISTANCE = 0.1  # of each cliff from the front
GOLDEN = (math.sqrt(5) - 1) / 2


def _number(params: Params, name: str) -> float:
    return float(cast(float, params[name]))


def _reals(params: Params) -> list[float]:
    """x1, x2, …, in order."""
    count = sum(1 for name in params if name[0] == "x" and name[1:].isdigit())
    return [_number(params, f"x{i}") for i in range(1, count + 1)]


def branin_currin(params: Params, seed: int) -> Metrics:  # noqa: ARG001
    """Branin's function on [−5, 10] × [0, 15] and Currin's, both of the unit square and to be minimised.

    As BoTorch's `BraninCurrin` has them (Dixon & Szegő 1978; Currin et al. 1988).
    """
    x1, x2 = _reals(params)
    u, v = 15 * x1 - 5, 15 * x2
    t = v - 5.1 / (4 * math.pi**2) * u**2 + 5 / math.pi * u - 6
    branin = t**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(u) + 10
    factor = 1 - math.exp(-1 / (2 * x2)) if x2 > 0 else 1.0
    numerator = 2300 * x1**3 + 1900 * x1**2 + 2092 * x1 + 60
    return {"branin": branin, "currin": factor * numerator / (100 * x1**3 + 500 * x1**2 + 4 * x1 + 20)}


def dtlz2(params: Params, seed: int) -> Metrics:  # noqa: ARG001
    """DTLZ2 of two objectives, minimised: (1 + g) (cos, sin)(π x₁ / 2), g = Σ (xᵢ − ½)² over i ≥ 2.

    The front is the unit quarter circle (Deb et al. 2002).
    """
    x1, *rest = _reals(params)
    return _circle(x1, sum((x - 0.5) ** 2 for x in rest))


def cliffs(params: Params, seed: int) -> Metrics:  # noqa: ARG001
    """DTLZ2's front behind cliffs: (1 + g) (cos, sin)(π x₁ / 2), both minimised, with

        g = 4 · mean (xᵢ − cᵢ)² + jump · |{k : wₖ · (x − c) > 0.1}|      over i ≥ 2, k = 1, 2, 3

    `jump` is a parameter. The optimum c lies off the centre, cᵢ = ¼ + ½ frac(i (√5 − 1) / 2), and the unit vectors
    wₖ are drawn once for each dimension (Python's Mersenne Twister, seeded by dimension and k). By the mean in g a
    random point is as far from the front in 20 dimensions as in 2. The front lies at distance 0.1 from each cliff,
    on its lower side, so it is the unit quarter circle whatever `jump` is.
    """
    x1, *rest = _reals(params)
    away = [x - 0.25 - 0.5 * math.fmod(i * GOLDEN, 1.0) for i, x in enumerate(rest, start=2)]
    fallen = sum(
        sum(w * a for w, a in zip(normal, away, strict=True)) > CLIFF_DISTANCE for normal in _normals(len(rest))
    )
    return _circle(x1, 4 * sum(a * a for a in away) / len(away) + _number(params, "jump") * fallen)


@lru_cache(maxsize=64)
def _normals(dimension: int) -> tuple[tuple[float, ...], ...]:
    normals = []
    for k in range(CLIFFS):
        draw = random.Random(f"cliff {dimension} {k}")
        raw = [draw.random() - 0.5 for _ in range(dimension)]
        length = math.sqrt(sum(w * w for w in raw))
        normals.append(tuple(w / length for w in raw))
    return tuple(normals)


def _circle(x1: float, g: float) -> Metrics:
    angle = math.pi * x1 / 2
    return {"f1": (1 + g) * math.cos(angle), "f2": (1 + g) * math.sin(angle)}


def architecture(params: Params, seed: int) -> Metrics:  # noqa: ARG001
    """Synthetic architecture search like that of the task cifar10, both metrics to be maximised.

    Accuracy saturates in multiply-accumulates and receptive field, and falls beyond 10⁹ multiply-accumulates;
    joules per sample grow with depth and multiply-accumulates, which take half as much again with kernels over 5.
    The standard deviation of `samples_per_joule` is 2 % · `noise`, a parameter.
    """
    width, depth, kernel = (int(_number(params, name)) for name in ("width", "depth", "kernel"))
    side, channels, macs = 32, 3, 0
    for layer in range(depth):
        macs += side**2 * channels * width * kernel**2
        channels = width
        if params["pool"] and layer > 0:
            side //= 2
    seen = 1 - math.exp(-kernel * depth / 6)
    accuracy = 0.1 + (0.75 if kernel > 1 else 0.45) * (1 - math.exp(-((macs / 2e7) ** 0.35))) * seen
    accuracy -= 0.1 * max(0.0, math.log10(macs / 1e9))
    efficiency = 1 / (2e-4 + 3e-4 * depth + macs * (6e-11 if kernel > 5 else 4e-11))
    sd = 0.02 * _number(params, "noise") * efficiency
    return {"accuracy": accuracy, "samples_per_joule": efficiency, "samples_per_joule_sd": sd}


def recipe(params: Params, seed: int) -> Metrics:  # noqa: ARG001
    """Synthetic problem of unordered choices, "a" to "e", in positions.

    Each choice has a price p and a worth w, and each pair of neighbours an effect e, numbers in [0, 1) drawn once:

        quality = 0.1 · (Σ (p + w) / 2 + Σ e / 3), to be maximised; energy = exp(Σ p / 2), to be minimised
    """
    chosen = [str(value) for value in params.values()]
    prices = [_drawn(f"price {i} {value}") for i, value in enumerate(chosen)]
    worths = [_drawn(f"worth {i} {value}") for i, value in enumerate(chosen)]
    effects = [_drawn(f"pair {i} {a} {b}") for i, (a, b) in enumerate(pairwise(chosen))]
    quality = 0.1 * ((sum(prices) + sum(worths)) / 2 + sum(effects) / 3)
    return {"quality": quality, "energy": math.exp(sum(prices) / 2)}


@lru_cache(maxsize=4096)
def _drawn(what: str) -> float:
    """Return the number in [0, 1) that belongs to a name, the same on every machine."""
    return random.Random(what).random()


def serving(params: Params, seed: int) -> Metrics:  # noqa: ARG001
    """Synthetic model server with numeric, boolean and named parameters and a memory limit.

    A batch takes 2 ms + batch · 3 ms · work / threads^0.8. Work is the precision's (fp32 1, bf16 0.6, int8 0.45);
    a compiled model does 25 % less of it and takes 3 ms more a batch; 1 + cache, doubled, saves 8 %. Power is
    15 W + 7 W a thread. `latency_ms` is the batch's time, `energy_mj` its energy per request, both to be minimised.
    Batch · (1 + cache) · bytes of the precision may not exceed 640.

    Raises:
        InfeasibleError: it exceeds 640.
    """
    batch, threads, cache = (_number(params, name) for name in ("batch", "threads", "cache"))
    work, size = {"fp32": (1.0, 4), "bf16": (0.6, 2), "int8": (0.45, 1)}[str(params["precision"])]
    if batch * (1 + cache) * size > 640:
        raise InfeasibleError("batch and cache do not fit in memory")
    work *= (0.75 if params["compiled"] else 1.0) * 0.92 ** math.log2(1 + cache)
    latency_ms = 2 + (3 if params["compiled"] else 0) + 3 * batch * work / threads**0.8
    return {"latency_ms": latency_ms, "energy_mj": (15 + 7 * threads) * latency_ms / batch}
