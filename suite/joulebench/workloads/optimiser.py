"""How a classifier is trained, by parameters: the optimiser and what becomes of its learning rate."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from joulebench.spec.parameters import Params


def make_optimizer(model: nn.Module, params: Params) -> torch.optim.Optimizer:
    """Reads `optimizer` (adam or sgd; adam where the task has no such parameter), `learning_rate`, `weight_decay`
    (0) and, for sgd, `momentum` (0).

    Raises:
        ValueError: another optimiser.
    """
    name = str(params.get("optimizer", "adam"))
    rate, decay = float(params["learning_rate"]), float(params.get("weight_decay", 0.0))
    if name == "adam":
        return torch.optim.Adam(model.parameters(), lr=rate, weight_decay=decay)
    if name == "sgd":
        momentum = float(params.get("momentum", 0.0))
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, weight_decay=decay)
    raise ValueError(f"no optimizer '{name}' (allowed: adam, sgd)")


def make_schedule(optimizer: torch.optim.Optimizer, params: Params) -> LRScheduler | None:
    """Reads `schedule`: none, or cosine, which takes the rate of epoch e to rate · (1 + cos(π e / T)) / 2
    (Loshchilov and Hutter 2017, without restarts); T is `schedule_epochs`, else `epochs`.

    Raises:
        ValueError: another schedule.
    """
    name = str(params.get("schedule", "none"))
    if name == "none":
        return None
    if name == "cosine":
        return CosineAnnealingLR(optimizer, T_max=int(params.get("schedule_epochs", params["epochs"])))
    raise ValueError(f"no schedule '{name}' (allowed: none, cosine)")
