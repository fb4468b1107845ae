"""Expected hypervolume improvement in closed form, of independent objectives. Imported when a model is needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from torch import Tensor
from torch.special import ndtr


def cells(fronts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Lower and upper corners of boxes that fill what no row of a front dominates, from 0 on.

    All is to be maximised and counted from the reference; with one objective: what lies above the best. One set
    of boxes a front, filled up with empty ones: fronts × boxes × objectives.
    """
    found = [_cells(front) for front in fronts]
    most = max(len(lower) for lower, _ in found)
    empty = [front.new_full((most - len(lower), lower.shape[1]), math.inf)
             for front, (lower, _) in zip(fronts, found, strict=True)]  # fmt: skip
    lower = torch.stack([torch.cat([low, pad]) for (low, _), pad in zip(found, empty, strict=True)])
    upper = torch.stack([torch.cat([high, pad]) for (_, high), pad in zip(found, empty, strict=True)])
    return lower, upper


def _cells(front: Tensor) -> tuple[Tensor, Tensor]:
    objectives = front.shape[1]
    above = front[(front > 0).all(dim=1)]
    if objectives == 1 or not len(above):
        lower = above.max(dim=0, keepdim=True).values if len(above) else front.new_zeros(1, objectives)
        return lower, torch.full_like(lower, math.inf)
    bounds = FastNondominatedPartitioning(ref_point=front.new_zeros(objectives), Y=above).get_hypercell_bounds()
    return bounds[0], bounds[1]


def normal_excess(mean: Tensor, sd: Tensor, threshold: Tensor) -> Tensor:
    """E[(Y - t)⁺] of a normal Y: σ (z Φ(z) + φ(z)) with z = (μ - t) / σ."""
    z = (mean - threshold) / sd
    found: Tensor = sd * (z * ndtr(z) + torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)).clamp_min(0.0)
    return found


def lognormal_excess(mean: Tensor, sd: Tensor, threshold: Tensor) -> Tensor:
    """E[(e^Z - t)⁺] of a normal Z: e^(μ + σ²/2) Φ(d + σ) - t Φ(d) with d = (μ - ln t) / σ; E[e^Z] - t for t ≤ 0."""
    d = (mean - threshold.clamp_min(torch.finfo(threshold.dtype).tiny).log()) / sd
    whole = torch.exp(mean + 0.5 * sd.square())
    found = (whole * ndtr(d + sd) - threshold * ndtr(d)).clamp_min(0.0)
    return torch.where(threshold > 0, found, whole - threshold)


def lognormal_shortfall(mean: Tensor, sd: Tensor, threshold: Tensor) -> Tensor:
    """E[(t - e^Z)⁺] of a normal Z: t Φ(-d) - e^(μ + σ²/2) Φ(-d - σ), with d as above; 0 for t ≤ 0."""
    d = (mean - threshold.clamp_min(torch.finfo(threshold.dtype).tiny).log()) / sd
    found = threshold * ndtr(-d) - torch.exp(mean + 0.5 * sd.square()) * ndtr(-d - sd)
    return torch.where(threshold > 0, found.clamp_min(0.0), torch.zeros_like(found))


def excess(mean: Tensor, sd: Tensor, threshold: Tensor, sign: float, log: bool) -> Tensor:
    """E[(s·Y - s·t)⁺], where log Y is modelled if `log`, else Y; an infinite threshold leaves nothing."""
    out = threshold.isinf()
    threshold = threshold.masked_fill(out, 1.0)  # infinities would have no gradient
    if log:
        found = (lognormal_excess if sign > 0 else lognormal_shortfall)(mean, sd, threshold)
    else:
        found = normal_excess(sign * mean, sd, sign * threshold)
    return found.masked_fill(out, 0.0)
