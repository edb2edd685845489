"""Reading, writing and reductions over arms against NumPy; the tournament against argmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.engine import argmax_tree, entries, reductions

ARMS = (1, 2, 7, 20, 33, 128, 129, 1000)
RUNS, OUTER = 7, 3
FUNCTIONS = ("take", "put", "add_at", "first_argmax")


def numpy_version(name, value, arm, entry):
    if name == "take":
        return value[arm]
    if name == "first_argmax":
        return np.argmax(value)
    out = value.copy()
    out[arm] = entry if name == "put" else out[arm] + entry
    return out


def inputs(arms, shape, seed=0):
    """Values with ties, the first and the last arm among those named."""
    rng = np.random.default_rng(seed)
    value = rng.integers(0, 4, (*shape, arms)).astype(np.float32)
    arm = rng.integers(0, arms, shape).astype(np.int32)
    arm.reshape(-1)[0], arm.reshape(-1)[-1] = arms - 1, 0
    return value, arm, rng.normal(size=shape).astype(np.float32)


def call(name, value, arm, entry):
    function = getattr(jb, name)
    arguments = {"take": (value, arm), "first_argmax": (value,)}
    return function(*arguments.get(name, (value, arm, entry)))


def expected(name, value, arm, entry):
    """Run by run, runs first."""
    shape = arm.shape
    rows = [
        numpy_version(name, value[index], arm[index], entry[index]) for index in np.ndindex(shape)
    ]
    return np.asarray(rows).reshape(shape + np.shape(rows[0]))


@pytest.mark.parametrize("arms", ARMS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_plain(name, arms):
    value, arm, entry = inputs(arms, ())
    arm = np.int32(arms - 1)
    out = call(name, *map(jnp.asarray, (value, arm, entry)))
    np.testing.assert_array_equal(out, numpy_version(name, value, arm, entry))


@pytest.mark.parametrize(
    ("arms", "axis"), [(arms, 0) for arms in ARMS] + [(arms, -1) for arms in (2, 20, 128, 129)]
)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("runs", [RUNS, 24])
def test_mapped(name, arms, axis, runs):
    value, arm, entry = inputs(arms, (runs,))
    want = expected(name, value, arm, entry)
    held = np.moveaxis(value, 0, axis)
    mapped = jax.vmap(
        lambda *x: call(name, *x),
        in_axes=(axis, 0, 0),
        out_axes=axis if name in ("put", "add_at") else 0,
    )
    if name in ("put", "add_at"):
        want = np.moveaxis(want, 0, axis)
    function = jax.jit(mapped) if name == "first_argmax" else mapped
    np.testing.assert_array_equal(function(held, arm, entry), want)


@pytest.mark.parametrize("arms", ARMS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_mapped_twice(name, arms):
    value, arm, entry = inputs(arms, (OUTER, RUNS))
    mapped = jax.jit(jax.vmap(jax.vmap(lambda *x: call(name, *x))))
    np.testing.assert_array_equal(mapped(value, arm, entry), expected(name, value, arm, entry))


@pytest.mark.parametrize("arms", [2, 33, 129])
@pytest.mark.parametrize(
    ("name", "shared"),
    [("take", shared) for shared in ("value", "arm", "value and arm")]
    + [
        (name, shared)
        for name in ("put", "add_at")
        for shared in ("value", "arm", "entry", "value and arm", "arm and entry")
    ],
)
def test_mapped_with_some_shared(name, shared, arms):
    value, arm, entry = inputs(arms, (RUNS,))
    axes, arguments, full = [], [], []
    for part, x in (("value", value), ("arm", arm), ("entry", entry)):
        one = part in shared.split(" and ")
        axes.append(None if one else 0)
        arguments.append(x[0] if one else x)
        full.append(np.broadcast_to(x[0], x.shape).copy() if one else x)
    mapped = jax.vmap(lambda *x: call(name, *x), in_axes=tuple(axes))
    np.testing.assert_array_equal(mapped(*arguments), expected(name, *full))


@pytest.mark.parametrize("arms", ARMS)
def test_integers_stay_integers(arms):
    value = jnp.zeros((RUNS, arms), jnp.int32)
    arm = jnp.arange(RUNS, dtype=jnp.int32) % arms
    out = jax.vmap(entries.add_at, (0, 0, None))(value, arm, jnp.int32(2))
    assert out.dtype == jnp.int32
    np.testing.assert_array_equal(jnp.sum(out, axis=1), 2)


@pytest.mark.parametrize("arms", ARMS)
@pytest.mark.parametrize("write", [entries.put, entries.add_at])
def test_python_numbers_can_be_written(write, arms):
    value = jnp.zeros((RUNS, arms))
    arm = jnp.arange(RUNS, dtype=jnp.int32) % arms
    out = jax.vmap(lambda value, arm: write(value, arm, 2))(value, arm)
    assert out.dtype == value.dtype
    np.testing.assert_array_equal(jnp.sum(out, axis=1), 2)


@pytest.mark.parametrize("arms", ARMS)
def test_ties_go_to_the_lowest(arms):
    for first in {0, arms // 2, arms - 1}:
        value = np.zeros(arms, np.float32)
        value[first:] = np.inf
        assert jb.first_argmax(jnp.asarray(value)) == first
        assert jb.first_argmax(jnp.asarray(-np.inf * np.ones(arms, np.float32))) == 0


def test_first_argmax_is_an_int32():
    for arms in ARMS:
        assert jb.first_argmax(jnp.zeros(arms)).dtype == jnp.int32


@pytest.mark.parametrize("arms", ARMS)
def test_weighted_sum(arms):
    """Of whole numbers, so that it is exact in any order."""
    value, weight = np.random.default_rng(arms).integers(-9, 10, (2, RUNS, arms))
    want = np.sum(value * weight, axis=1)
    weight = weight.astype(np.float32)
    out = jax.vmap(reductions.weighted_sum)(jnp.asarray(value), jnp.asarray(weight))
    assert out.dtype == jnp.float32
    np.testing.assert_array_equal(out, want)
    one = reductions.weighted_sum(jnp.asarray(value[0]), weight[0])
    np.testing.assert_array_equal(one, want[0])


# The tournament.

POOL = np.array([-np.inf, -1.5, -1.0, 0.0, 0.0, 0.25, 2.0, 2.0, np.inf], np.float32)


@pytest.mark.parametrize(
    "arms",
    [1, 33, 1000] + [pytest.param(arms, marks=pytest.mark.slow) for arms in (32, 64, 128, 129)],
)
def test_tournament_is_argmax(arms):
    """Thousands of updates, full of ties and infinities, in two runs at once."""
    updates, runs = 2000, 2
    rng = np.random.default_rng(arms)
    start = rng.choice(POOL, (runs, arms))
    arm = rng.integers(0, arms, (runs, updates)).astype(np.int32)
    # Half of the time the leader falls, or nothing at all would ever happen to it.
    value = rng.choice(POOL[:-1], (runs, updates))
    leader = rng.random((runs, updates)) < 0.5

    def one(start, arms_named, values, at_leader):
        def step(tree, x):
            named, new, lead = x
            named = jnp.where(lead, argmax_tree.winner(tree), named)
            tree = argmax_tree.replace(tree, named, new)
            return tree, (named, argmax_tree.winner(tree))

        tree = argmax_tree.tournament(start)
        changes = arms_named, values, at_leader
        return argmax_tree.winner(tree), jax.lax.scan(step, tree, changes)[1]

    first, (named, winners) = jax.jit(jax.vmap(one))(start, arm, value, leader)
    np.testing.assert_array_equal(first, np.argmax(start, axis=1))
    current, changes = start.copy(), 0
    for run in range(runs):
        for t in range(updates):
            current[run, named[run, t]] = value[run, t]
            assert winners[run, t] == np.argmax(current[run])
        changes += np.sum(np.diff(winners[run]) != 0)
    if arms > 1:
        assert changes > 100
