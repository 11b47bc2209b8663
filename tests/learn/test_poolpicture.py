"""The pools of normalizations, and their pictures."""

import re
import xml.etree.ElementTree as ElementTree

import numpy
import pytest

from tinygrad_norm.learn.given import choose
from tinygrad_norm.learn.poolpicture import pool_picture
from tinygrad_norm.learn.sharing import first_of, pools_of, small_input
from tinygrad_norm.registry import REGISTRY

NORMS = sorted(op.name for op in REGISTRY.values() if op.kind == "normalization")

AXES = {
    "batch_norm": (0, 2, 3),
    "instance_norm": (2, 3),
    "pixel_norm": (1,),
    "weight_standardization": (1, 2, 3),
    "global_response_norm": (1, 2, 3),
    "dynamic_tanh": (),
    "layer_norm": (1, 2, 3),
    "adaptive_layer_norm": (2,),
}


@pytest.mark.parametrize("name", AXES)
def test_a_pool_has_the_entries_of_its_axes(name):
    given = small_input(REGISTRY[name])
    shape, pools = first_of(given).shape, pools_of(REGISTRY[name], given)
    places = numpy.stack(numpy.unravel_index(numpy.arange(pools.shape[1]), shape), axis=1)
    outside = [axis for axis in range(len(shape)) if axis not in AXES[name]]
    same = (places[:, None, outside] == places[None, :, outside]).all(-1)
    numpy.testing.assert_array_equal(pools, same)


def test_groups_and_windows_are_found_too():
    group = REGISTRY["group_norm"]
    pools = pools_of(group, choose(group, shape=(1, 4, 2), options={"num_groups": 2}))
    numpy.testing.assert_array_equal(pools, numpy.kron(numpy.eye(2), numpy.ones((4, 4))) > 0)
    window = REGISTRY["local_response_norm"]
    pools = pools_of(window, small_input(window, shape=(1, 5, 1)))
    assert pools[0].nonzero()[0].tolist() == [0, 1]
    assert pools[2].nonzero()[0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", NORMS)
def test_the_picture_shades_the_pool_of_every_normalization(name):
    op = REGISTRY[name]
    given = small_input(op)
    svg = pool_picture(op, given, entry=0)
    root = ElementTree.fromstring(svg)
    blocks = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("data-entry")]
    kinds = {int(block.attrib["data-entry"]): block.get("class") for block in blocks}
    pool = pools_of(op, given)[0]
    assert sorted(kinds) == list(range(pool.size))
    assert {k for k, kind in kinds.items() if kind != "out"} == set(pool.nonzero()[0])
    assert not re.search(r"https?://(?!www\.w3\.org)", svg)


def test_the_picture_of_a_missing_entry_says_which_there_are():
    with pytest.raises(IndexError, match="0 … 47, got 48"):
        pool_picture(REGISTRY["batch_norm"], entry=48)


def test_a_shape_that_the_op_cannot_take_raises():
    with pytest.raises(ValueError, match="cannot take an x of shape 5"):
        small_input(REGISTRY["batch_norm"], shape=(5, 1, 1, 1, 1, 1, 1))
