"""Recurrent networks that read an image row by row: LSTM or GRU layers, and a linear head on the last step."""

from __future__ import annotations

import torch
from torch import nn

from joulebench.records.model import Costs
from joulebench.spec.parameters import Params
from joulebench.workloads.classifier import ImageClassifier
from joulebench.workloads.networks.blocks import Shape

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class RowReader(nn.Module):
    """`depth` recurrent layers of `width` units; a step's input is one row of pixels of all channels."""

    def __init__(self, shape: Shape, classes: int, cell: str, width: int, depth: int) -> None:
        super().__init__()
        channels, self.steps, columns = shape
        sizes = [channels * columns, *[width] * (depth - 1)]
        self.layers = nn.ModuleList(CELLS[cell](size, width, batch_first=True) for size in sizes)
        self.head = nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        steps = x.permute(0, 2, 1, 3).flatten(2)  # (n, rows, channels · columns)
        for layer in self.layers:
            steps, _ = layer(steps)
        logits: torch.Tensor = self.head(steps[:, -1])
        return logits

    def recurrent_macs(self) -> int:
        """MACs of the recurrent layers in one forward pass of one image, which fvcore does not count.

        Each step multiplies every weight once: 4 gates (LSTM) or 3 (GRU) × width × (inputs + width).
        """
        matrices = (p for layer in self.layers for p in layer.parameters() if p.ndim == 2)
        return self.steps * sum(p.numel() for p in matrices)


def with_recurrent_macs(costs: Costs, model: RowReader) -> Costs:
    """fvcore's count with what it listed as unsupported: the fused recurrent operator."""
    if costs.macs is None or costs.flops is None:
        return costs
    missed = model.recurrent_macs()
    known = {f"aten::{cell}" for cell in CELLS}
    return costs.model_copy(
        update={
            "macs": costs.macs + missed,
            "flops": costs.flops + 2 * missed,
            "unsupported_ops": {op: n for op, n in costs.unsupported_ops.items() if op not in known},
        }
    )


class Recurrent(ImageClassifier):
    """An image classifier of `cell` (lstm or gru), `width` and `depth`."""

    def make_model(self, params: Params) -> nn.Module:
        return RowReader(
            self.data.shape, len(self.data.classes), str(params["cell"]), int(params["width"]), int(params["depth"])
        )

    def costs(self) -> Costs:
        assert isinstance(self.model, RowReader)
        return with_recurrent_macs(super().costs(), self.model)
