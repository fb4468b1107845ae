"""Costs of NAS-Bench-101 networks, by hand; test_published_tables checks thousands against a published count."""

from __future__ import annotations

import pytest

from tests.ecnas.nas_bench import adjacency, costs

STEM = 27 * 128 + 2 * 128
HEAD = 512 * 10 + 10
CONV3, CONV1, POOL = 0, 1, 2
IN, OUT = -1, -2


def test_the_triangle_is_read_row_by_row():
    assert adjacency([True, False, True]) == (
        (False, True, False),
        (False, False, True),
        (False, False, False),
    )
    with pytest.raises(ValueError, match="triangle"):
        adjacency([True, False])


def test_a_chain_of_one_convolution_by_hand():
    """Per cell a projection c_in → c and a 3×3 convolution c → c, each with batch norm; c = 128, 256, 512."""
    found = costs(adjacency([True, False, True]), (IN, CONV3, OUT))
    parameters, macs = STEM + HEAD, 27 * 128 * 32 * 32 + 5120
    for c_in, c, side in ((128, 128, 32), (256, 256, 16), (512, 512, 8)):
        for cell in range(3):
            entry = c_in if cell or c == 128 else c // 2
            pairs = entry * c + 9 * c * c
            parameters += pairs + 4 * c
            macs += pairs * side * side
    assert (found.parameters, found.macs) == (parameters, macs)


def test_pooling_has_values_but_no_weights():
    chain = adjacency([True, False, True])
    pool, conv = costs(chain, (IN, POOL, OUT)), costs(chain, (IN, CONV1, OUT))
    assert pool.activations == conv.activations
    assert pool.parameters < conv.parameters
    assert pool.macs < conv.macs


def test_channels_are_shared_among_what_flows_into_the_output():
    """Two vertices side by side have half of the channels each: a quarter of a 3×3 convolution's weights, twice."""
    both = adjacency([True, True, False, False, True, True])
    found = costs(both, (IN, CONV3, CONV3, OUT))
    one = costs(adjacency([True, False, True]), (IN, CONV3, OUT))
    assert found.activations == one.activations
    assert found.parameters < one.parameters


def test_an_input_that_goes_straight_to_the_output_is_projected():
    with_skip = costs(adjacency([True, True, True]), (IN, CONV1, OUT))
    without = costs(adjacency([True, False, True]), (IN, CONV1, OUT))
    assert with_skip.macs > without.macs


def test_operations_must_fit():
    with pytest.raises(ValueError, match="do not fit"):
        costs(adjacency([True, False, True]), (IN, 7, OUT))
    with pytest.raises(ValueError, match="do not fit"):
        costs(adjacency([True, False, True]), (IN, CONV1, CONV1, OUT))
