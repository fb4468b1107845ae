"""Closed-form parts of expected hypervolume improvement, for independent objectives.

Imported when a model is needed.
"""

from __future__ import annotations

import math

import torch
from botorch.utils.multi_objective.box_decompositions.non_dominated import FastNondominatedPartitioning
from botorch.utils.multi_objective.pareto import is_non_dominated
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.special import ndtr


def cells(values: Tensor, allowed: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper corners of boxes that partition the non-dominated region of each front, from 0 on.

    All is maximised, relative to the reference; with one objective the region is what lies above the best. Shape
    of both: fronts × boxes × objectives, padded with empty boxes.

    Args:
        values: fronts × rows × objectives; rows may be dominated, and lie below the reference.
        allowed: fronts × rows; other rows are ignored.
    """
    above = allowed & (values > 0).all(dim=-1)
    if values.shape[-1] <= 2:
        reference = values.new_zeros(len(values), 1, values.shape[-1])
        counted = torch.cat([values.masked_fill(~above[..., None], 0.0), reference], dim=1)
        if values.shape[-1] == 2:
            return _strips(counted)
        lower = counted.amax(dim=1, keepdim=True)
        return lower, torch.full_like(lower, math.inf)
    boxes = [_boxes(front[kept]) for front, kept in zip(values, above, strict=True)]
    lower, upper = (
        pad_sequence(list(corners), batch_first=True, padding_value=math.inf)
        for corners in zip(*boxes, strict=True)
    )
    return lower, upper


def _strips(values: Tensor) -> tuple[Tensor, Tensor]:
    """`cells` of two objectives: strips of the first, each above the best second to its right."""
    nothing = values.new_zeros(len(values), 1)
    order, best, stair = _stairs(values)
    kept = stair.long().argsort(dim=1, descending=True, stable=True)[:, : int(stair.sum(dim=1).max())]
    edges = values[..., 0].gather(1, order).masked_fill(~stair, 0.0).gather(1, kept)  # then: strips without width
    floors = best.gather(1, kept)
    lower = torch.stack([torch.cat([edges, nothing], dim=1), torch.cat([nothing, floors], dim=1)], dim=-1)
    upper = torch.full_like(lower, math.inf)
    upper[:, 1:, 0] = edges
    return lower, upper


def _stairs(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows of each front by decreasing first objective, the running best second, and whether a row raises it."""
    order = values[..., 0].argsort(dim=1, descending=True, stable=True)
    best = values[..., 1].gather(1, order).cummax(dim=1).values
    before = torch.cat([values.new_zeros(len(values), 1), best], dim=1)[:, :-1]
    return order, best, best > before


def undominated(values: Tensor, allowed: Tensor) -> Tensor:
    """Mask of each front's non-dominated rows above the reference (fronts × rows); arguments as for `cells`."""
    above = allowed & (values > 0).all(dim=-1)
    counted = values.masked_fill(~above[..., None], 0.0)
    if values.shape[-1] == 2:
        order, _, stair = _stairs(counted)
        return torch.zeros_like(above).scatter(1, order, stair)
    mask: Tensor = above & is_non_dominated(counted, deduplicate=False)
    return mask


def _boxes(front: Tensor) -> tuple[Tensor, Tensor]:
    if not len(front):
        lower = front.new_zeros(1, front.shape[1])
        return lower, torch.full_like(lower, math.inf)
    bounds = FastNondominatedPartitioning(ref_point=front.new_zeros(front.shape[1]), Y=front).get_hypercell_bounds()
    return bounds[0], bounds[1]


def normal_excess(mean: Tensor, sd: Tensor, threshold: Tensor) -> Tensor:
    """E[(Y - t)⁺] of a normal Y: σ (z Φ(z) + φ(z)) with z = (μ - t) / σ."""
    z = (mean - threshold) / sd
    value: Tensor = sd * (z * ndtr(z) + torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)).clamp_min(0.0)
    return value


def lognormal_excess(mean: Tensor, sd: Tensor, threshold: Tensor) -> Tensor:
    """E[(e^Z - t)⁺] of a normal Z: e^(μ + σ²/2) Φ(d + σ) - t Φ(d) with d = (μ - ln t) / σ; E[e^Z] - t for t ≤ 0."""
    d = (mean - threshold.clamp_min(torch.finfo(threshold.dtype).tiny).log()) / sd
    whole = torch.exp(mean + 0.5 * sd.square())
    value = (whole * ndtr(d + sd) - threshold * ndtr(d)).clamp_min(0.0)
    return torch.where(threshold > 0, value, whole - threshold)


def lognormal_shortfall(mean: Tensor, sd: Tensor, threshold: Tensor) -> Tensor:
    """E[(t - e^Z)⁺] of a normal Z: t Φ(-d) - e^(μ + σ²/2) Φ(-d - σ), with d as above; 0 for t ≤ 0."""
    d = (mean - threshold.clamp_min(torch.finfo(threshold.dtype).tiny).log()) / sd
    value = threshold * ndtr(-d) - torch.exp(mean + 0.5 * sd.square()) * ndtr(-d - sd)
    return torch.where(threshold > 0, value.clamp_min(0.0), torch.zeros_like(value))


def excess(mean: Tensor, sd: Tensor, threshold: Tensor, sign: float, log: bool) -> Tensor:
    """E[(s·Y - s·t)⁺], where log Y is modelled if `log`, else Y; 0 for an infinite threshold."""
    out = threshold.isinf()
    threshold = threshold.masked_fill(out, 1.0)  # infinities would have no gradient
    if log:
        value = (lognormal_excess if sign > 0 else lognormal_shortfall)(mean, sd, threshold)
    else:
        value = normal_excess(sign * mean, sd, sign * threshold)
    return value.masked_fill(out, 0.0)
