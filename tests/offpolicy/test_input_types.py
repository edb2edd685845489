"""Small types, and settings that forbid promotion, change no result."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb

_TYPES = ["int8", "int32", "uint8", "float16", "bfloat16", "bool"]
_LARGEST = {
    "int8": 100,
    "int32": 100_000,
    "uint8": 200,
    "float16": 1000,
    "bfloat16": 256,
    "bool": 1,
}


def _log(dtype: str) -> tuple[jb.BanditLog, np.ndarray, np.ndarray]:
    """A log of numbers that the type holds, and the same in float64."""
    most = _LARGEST[dtype]
    feature = jnp.asarray([[most, 1], [most, 0], [1, 1]], dtype)
    reward = jnp.asarray([most, 0, 1], dtype)
    log = jb.BanditLog(np.array([0, 0, 1]), feature, reward)
    return log, np.asarray(feature, np.float64), np.asarray(reward, np.float64)


def _added(log: jb.BanditLog) -> jb.TaskStatistics:
    stats = jb.empty_statistics(2, 2)
    for i in range(3):
        record = jb.BanditLog(log.task[i], log.feature[i], log.reward[i])
        stats = jb.add_record(stats, record)
    return stats


_SUMS = {
    "task_statistics": lambda log: jb.task_statistics(log, 2),
    "scan_statistics": lambda log: jb.scan_statistics(jb.empty_statistics(2, 2), log),
    "add_record": _added,
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("dtype", _TYPES)
@pytest.mark.parametrize("name", _SUMS)
@pytest.mark.filterwarnings("ignore:columns 0 and 1 of log.feature")
def test_sums_of_small_types_do_not_overflow(name: str, dtype: str, traced: bool) -> None:
    # Fails where products are taken in the type of the log.
    log, feature, reward = _log(dtype)
    stats = (jax.jit(_SUMS[name]) if traced else _SUMS[name])(log)
    for task, rows in enumerate((slice(0, 2), slice(2, 3))):
        np.testing.assert_allclose(stats.gram[task], feature[rows].T @ feature[rows], rtol=1e-6)
        np.testing.assert_allclose(stats.moment[task], feature[rows].T @ reward[rows], rtol=1e-6)
        np.testing.assert_allclose(stats.square[task], reward[rows] @ reward[rows], rtol=1e-6)


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("dtype", _TYPES)
def test_bounds_of_small_types_do_not_overflow(dtype: str, traced: bool) -> None:
    _, feature, _ = _log(dtype)
    mean, cov = np.array([1, 0]), np.eye(2)
    args = [jnp.asarray(x, dtype) for x in (mean, cov, feature)]

    def bound(mean: jax.Array, cov: jax.Array, feature: jax.Array) -> jax.Array:
        return jb.lower_confidence_bound(jb.Gaussian(mean, cov), feature, 1)

    found = (jax.jit(bound) if traced else bound)(*args)
    wanted = feature @ mean - np.linalg.norm(feature, axis=1)
    np.testing.assert_allclose(found, wanted, atol=1e-6 * _LARGEST[dtype])


@pytest.mark.parametrize("traced", [False, True])
def test_features_of_zero(traced: bool) -> None:
    log = jb.BanditLog(np.array([0, 1]), np.zeros((2, 2)), np.array([1.0, 2.0]))
    sums = _SUMS["task_statistics"]
    stats = (jax.jit(sums) if traced else sums)(log)
    assert not np.any(stats.gram)
    assert stats.square.tolist() == [1, 4]


_MODEL = jb.HierarchicalGaussian(np.zeros(2), np.eye(2), np.eye(2), 0.5)
_RECORDS = jb.BanditLog(
    np.array([0, 0, 0, 1, 1, 1]),
    np.array([[1.0, 0.5], [1, 2], [1, 1], [1, 3], [1, 4], [1, 1]]),
    np.array([1.0, 2, 2, 5, 3, 1]),
)
_HALF = np.full(6, 0.5)
_CALLS = {
    **{name: lambda stats, f=f: f(_RECORDS) for name, f in _SUMS.items() if name != "add_record"},
    "add_record": lambda stats: jb.add_record(stats, jb.BanditLog(0, np.array([1, 2]), 3)),
    "hyper_posterior": lambda stats: jb.hyper_posterior(_MODEL, stats),
    "scan_hyper_information": lambda stats: jb.scan_hyper_information(_MODEL, stats),
    "task_posteriors": lambda stats: jb.task_posteriors(_MODEL, stats),
    "oracle_posteriors": lambda stats: jb.oracle_posteriors(_MODEL, stats, np.zeros(2)),
    "flat_posteriors": lambda stats: jb.flat_posteriors(_MODEL, stats),
    "new_task_posterior": lambda stats: jb.new_task_posterior(_MODEL, stats),
    "log_marginal_likelihood": lambda stats: jb.log_marginal_likelihood(_MODEL, stats),
    "lower_confidence_bound": lambda stats: jb.lower_confidence_bound(
        jb.Gaussian(np.zeros(2), np.eye(2)), np.ones((3, 2)), 1
    ),
    "score_held_out": lambda stats: jb.score_held_out(
        jb.predict(jb.Gaussian(np.zeros((2, 2)), np.stack([np.eye(2)] * 2)), _RECORDS, 0.5),
        _RECORDS.reward,
    ),
    "ips_value": lambda stats: jb.ips_value(_RECORDS.reward, _HALF, _HALF),
    "snips_value": lambda stats: jb.snips_value(_RECORDS.reward, _HALF, _HALF),
}


@pytest.mark.parametrize(
    "forbid",
    [lambda: jax.numpy_rank_promotion("raise"), lambda: jax.numpy_dtype_promotion("strict")],
    ids=["rank", "type"],
)
@pytest.mark.parametrize("name", _CALLS)
def test_works_where_promotion_is_forbidden(name: str, forbid) -> None:
    stats = jb.task_statistics(_RECORDS, 2)
    wanted = _CALLS[name](stats)
    with forbid():
        found = _CALLS[name](stats)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize("shift", [310.0, 1e4, 1e6])
@pytest.mark.filterwarnings("ignore:log.reward lies so far from zero")
def test_rewards_far_from_zero_are_refused_with_the_remedy(shift: float) -> None:
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(30), 50)
    reward = shift + rng.normal(0, 0.5, 30)[task] + rng.normal(0, 0.3, 1500)
    stats = jb.task_statistics(jb.BanditLog(task, np.ones((1500, 1)), reward), 30)
    with pytest.raises(jb.InputError, match="subtract their mean, or set JAX_ENABLE_X64=1"):
        jb.fit_hierarchy(stats)


_THETA, _CHOICES = np.array([1, 0]), np.array([[[0, 1], [1, 0]], [[1, 0], [1, 1]]])
_EYE = np.eye(2, dtype=int)
_LINEAR = jb.linear_gaussian(_EYE, 1)


def _sums(cast) -> jb.TaskStatistics:
    eye = cast(_EYE)
    return jb.TaskStatistics(eye[None], cast(_THETA)[None], cast([1]), cast([1]))


_BOUNDS = {
    "optimal_action": lambda cast: jb.bounds.optimal_action(cast(_THETA), cast(_CHOICES)),
    "optimal_gram": lambda cast: jb.bounds.optimal_gram(cast(_THETA), cast(_CHOICES[:1])),
    "task_gamma": lambda cast: jb.bounds.task_gamma(_sums(cast), np.eye(2)[None] / 2),
    "scale_features": lambda cast: jb.bounds.scale_features(
        cast(_LARGEST[_name_of(cast)]),
        jb.HierarchicalGaussian(cast(_THETA), cast(_EYE), cast(_EYE), 1.0),
        _sums(cast),
    ),
    "data_dependent_bound": lambda cast: jb.bounds.data_dependent_bound(
        jb.Gaussian(cast(_THETA), cast(_EYE)), cast(_THETA), cast(_CHOICES), cast(1)
    ),
    "trace_bound": lambda cast: jb.bounds.trace_bound(cast(_EYE), np.eye(2) / 2, cast(1)),
    "single_task_bound": lambda cast: jb.bounds.single_task_bound(
        cast(_EYE), cast(1), cast([_LARGEST[_name_of(cast)], 1]), cast(1), cast(1)
    ),
    "lcb_minimax_regret": lambda cast: jb.bounds.lcb_minimax_regret(
        cast([_LARGEST[_name_of(cast)], 1]), 100
    ),
    "marginal_posteriors": lambda cast: jb.marginal_posteriors(
        cast(_EYE), _LINEAR.conditional, _sums(cast)
    ),
    "particle_log_weights": lambda cast: jb.particle_log_weights(
        cast(_EYE), _LINEAR.log_evidence, _sums(cast)
    ),
    "ips_value": lambda cast: jb.ips_value(
        cast([_LARGEST[_name_of(cast)], 0, 1]), cast([1, 1, 1]), cast([1, 0, 1])
    ),
}


class _Cast:
    """To a small type, and back to float64."""

    def __init__(self, dtype: str, plain: bool) -> None:
        self.dtype, self.plain = dtype, plain

    def __call__(self, value):
        small = np.asarray(value).astype(jnp.dtype(self.dtype))
        return small.astype(np.float64) if self.plain else jnp.asarray(small)


def _name_of(cast: _Cast) -> str:
    return cast.dtype


@pytest.mark.parametrize("dtype", _TYPES)
@pytest.mark.parametrize("name", _BOUNDS)
def test_small_types_give_what_float64_gives(name: str, dtype: str) -> None:
    wanted = _BOUNDS[name](_Cast(dtype, plain=True))
    found = _BOUNDS[name](_Cast(dtype, plain=False))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, wanted)


@pytest.mark.parametrize(
    "forbid",
    [lambda: jax.numpy_rank_promotion("raise"), lambda: jax.numpy_dtype_promotion("strict")],
    ids=["rank", "type"],
)
@pytest.mark.parametrize("name", _BOUNDS)
def test_bounds_work_where_promotion_is_forbidden(name: str, forbid) -> None:
    wanted = _BOUNDS[name](_Cast("int8", plain=True))
    with forbid():
        found = _BOUNDS[name](_Cast("int8", plain=True))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
