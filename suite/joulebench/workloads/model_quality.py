"""What a way of running a model changes in its outputs, with standard errors over the samples. Pure."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from joulebench.stats.estimate import paired_share_sem, share_sem

#: A value and its standard error, over samples drawn as these were.
Measured = tuple[float, float]


def quality(
    outputs: torch.Tensor, plain: torch.Tensor, y: torch.Tensor | None, *, embeds: bool
) -> dict[str, Measured]:
    """Metrics of outputs, a row for every sample, beside those of the plain model.

    `accuracy` and `accuracy_drop` (the plain model's less this one's) where there are labels; `relative_error`,
    ‖y - y₀‖ / ‖y₀‖; and `agreement`, the share of samples, or of tokens, with the same largest output, or `cosine`,
    the mean cosine similarity, of a model that embeds.
    """
    found: dict[str, Measured] = {}
    labels, plain_labels = _labels(outputs), _labels(plain)
    if y is not None:
        right, plain_right = (labels == y).double(), (plain_labels == y).double()
        found["accuracy"] = _share(right)
        drop = plain_right - right
        gained, lost = float(drop.clamp(min=0).sum()), float(drop.clamp(max=0).sum().abs())
        found["accuracy_drop"] = float(drop.mean()), paired_share_sem(gained, lost, len(drop))
    if embeds:
        found["cosine"] = _mean(F.cosine_similarity(outputs.flatten(1).double(), plain.flatten(1).double()))
    else:
        same = (labels == plain_labels).double()
        found["agreement"] = _share(same.flatten(1).mean(1) if same.dim() > 1 else same)
    error = (outputs.double() - plain.double()).reshape(len(plain), -1).square().sum(1)
    size = plain.double().reshape(len(plain), -1).square().sum(1)
    if float(size.sum()) > 0:
        found["relative_error"] = _root_of_ratio(error, size)
    return found


def _labels(outputs: torch.Tensor) -> torch.Tensor:
    """The largest output of every sample; of every token, where outputs are tokens × classes."""
    if outputs.dim() == 1:
        return outputs
    return outputs.argmax(2) if outputs.dim() == 3 else outputs.flatten(1).argmax(1)


def _share(hits: torch.Tensor) -> Measured:
    """Mean of values from 0 to 1, of each sample."""
    return float(hits.mean()), share_sem(float(hits.sum()), len(hits))


def _mean(values: torch.Tensor) -> Measured:
    n = len(values)
    return float(values.mean()), float(values.std()) / math.sqrt(n) if n > 1 else 0.0


def _root_of_ratio(parts: torch.Tensor, wholes: torch.Tensor) -> Measured:
    """√(Σ parts / Σ wholes), its standard error by linearisation."""
    n, ratio = len(parts), float(parts.sum() / wholes.sum())
    if ratio == 0 or n < 2:
        return math.sqrt(ratio), 0.0
    residual = float((parts - ratio * wholes).square().sum()) * n / (n - 1)
    return math.sqrt(ratio), math.sqrt(residual) / float(wholes.sum()) / (2 * math.sqrt(ratio))
