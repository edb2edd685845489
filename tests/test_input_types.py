"""Arrays of small types: every public function of numbers gives what it gives for floating ones.

Whole numbers and floating numbers of 16 bits overflow or lose their digits in products and sums;
each test fails where a function computes with them before they are converted.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb

# The largest number that each type is tried with; its square is beyond what the type holds.
LARGEST = {
    "int8": 100,
    "uint8": 200,
    "int16": 20_000,
    "int32": 100_000,
    "float16": 1000,
    "bfloat16": 256,
    "bool": 1,
}

KEY = jax.random.key(0)
TASK = np.array([0, 0, 1], np.int32)
EYE = np.eye(2)
HALF = np.full(3, 0.5, np.float32)
DESIGN = jb.synthetic_design(features=2, actions=2, tasks=2, contexts=4)


def number(value, dtype=float):
    """An array that is to be given in the small type."""
    return np.asarray(value, dtype)


def log(most):
    return jb.BanditLog(TASK, number([[most, 1], [most, 0], [1, 1]]), number([most, 0, 1]))


def model(most):
    return jb.HierarchicalGaussian(number([most, 1]), number(EYE), number(EYE), number(1))


def stats(most):
    return jb.TaskStatistics(
        number([[[most, 1], [1, 1]], [[1, 0], [0, 1]]]),
        number([[most, 1], [0, 1]]),
        number([1, 1]),
        number([most, 1]),
    )


def task_of(sums):
    return jax.tree.map(lambda leaf: leaf[0], sums)


def gaussian(most):
    return jb.Gaussian(number([most, 1]), number(EYE))


def gaussians(most):
    return jb.Gaussian(number([[most, 1], [1, 0]]), number([EYE, EYE]))


def features(most):
    return number([[most, 1], [most, 0], [0, 1]])


def particles(most):
    return number([[most, 1], [0, 1], [1, 0]])


def added(record_log):
    total = jb.empty_statistics(2, 2)
    for i in range(3):
        total = jb.add_record(total, jax.tree.map(lambda leaf, i=i: leaf[i], record_log))
    return total


def play(policy, count, total, *arguments, environment=None, **options):
    environment = environment or jb.bernoulli_arms([0.2, 0.5, 0.7])
    return jb.rollout(
        KEY, policy(*arguments, **options), environment, jb.OfflineArms(count, total), horizon=30
    )


def offline(most):
    return number([most, 1, 1]), number([most, 0, 1])


def plays(policy, *arguments, **options):
    """Rounds of a policy, from counts and sums and with parameters of the type."""
    made = tuple(map(number, arguments))
    named = {name: number(value) for name, value in options.items()}

    def call(offline, made, named):
        return play(policy, *offline, *made, **named)

    return call, lambda most: (offline(most), made, named)


def of_arms(make, *arguments):
    """Rounds in an environment whose parameters are of the type."""

    def call(*arguments):
        environment = make(*arguments)
        return jb.rollout(KEY, jb.fixed_arm(1), environment, horizon=20).reward, environment.mean

    return call, lambda most: tuple(number(value(most)) for value in arguments)


def with_confidence(policy, **options):
    named = {name: number(value) for name, value in options.items()}

    def call(offline, named):
        return play(partial(policy, confidence=jb.confidence(**named)), *offline)

    return call, lambda most: (offline(most), named)


def of_counts(bound, *more):
    """A bound of [arms] counts, of which the first is large."""
    return bound, lambda most: (number([most, 1, 1]), *(number(value) for value in more))


BOUND = jb.bounds
LINEAR = jb.linear_gaussian(EYE, 1.0)
GRAMS = number([EYE / 2, EYE / 2], np.float32)

CALLS = {
    # Off-policy.
    "task_statistics": (lambda log: jb.task_statistics(log, 2), lambda most: (log(most),)),
    "scan_statistics": (
        lambda log: jb.scan_statistics(jb.empty_statistics(2, 2), log),
        lambda most: (log(most),),
    ),
    "add_record": (added, lambda most: (log(most),)),
    "continued scan_statistics": (jb.scan_statistics, lambda most: (stats(most), log(most))),
    **{
        f.__name__: (f, lambda most: (model(most), stats(most)))
        for f in (
            jb.hyper_information,
            jb.scan_hyper_information,
            jb.hyper_posterior,
            jb.task_posteriors,
            jb.flat_posteriors,
            jb.new_task_posterior,
            jb.log_marginal_likelihood,
        )
    },
    **{
        f.__name__: (f, lambda most: (model(most), stats(most), number([most, 1])))
        for f in (jb.oracle_posteriors, jb.hieropo, jb.flatopo, jb.oracleopo)
    },
    "hyper_posterior_from": (
        jb.hyper_posterior_from,
        lambda most: (model(most), jb.HyperInformation(number(EYE), number([most, 1]))),
    ),
    **{
        f.__name__: (f, lambda most: (gaussian(most), features(most), number(1)))
        for f in (jb.lower_confidence_bound, jb.pessimistic_action)
    },
    "suboptimality": (
        jb.suboptimality,
        lambda most: (number([most, 1]), number([features(most)[:2]]), number([1], np.int32)),
    ),
    "predict": (jb.predict, lambda most: (gaussians(most), log(most), number(1))),
    "score_held_out": (
        lambda *given: jb.score_held_out(jb.predict(*given), given[1].reward),
        lambda most: (gaussians(most), log(most), number(1)),
    ),
    **{
        f.__name__: (f, lambda most: (number([most, 0, 1]), number([1, 1, 1]), number([1, 0, 1])))
        for f in (jb.ips_value, jb.snips_value)
    },
    "doubly_robust_value": (
        jb.doubly_robust_value,
        lambda most: (
            number([most, 0, 1]),
            number([1, 1, 1]),
            number([1, 0, 1]),
            number([0, most, 0]),
            number([1, 0, most]),
        ),
    ),
    "effective_sample_size": (jb.effective_sample_size, lambda most: (number([1, 0, 1]),)),
    "particle_log_weights": (
        lambda particles, stats: jb.particle_log_weights(particles, LINEAR.log_evidence, stats),
        lambda most: (particles(1), stats(1)),
    ),
    "marginal_posteriors": (
        lambda particles, stats: jb.marginal_posteriors(particles, LINEAR.conditional, stats),
        lambda most: (particles(most), stats(most)),
    ),
    "linear_gaussian": (
        lambda cov, std, particle, stats: (
            jb.linear_gaussian(cov, std).conditional(particle, stats),
            jb.linear_gaussian(cov, std).log_evidence(particle, stats),
        ),
        lambda most: (number(EYE), number(1), number([most, 1]), task_of(stats(most))),
    ),
    "bernoulli_laplace": (
        lambda cov, particle, feature, reward, valid: (
            jb.bernoulli_laplace(cov).conditional(particle, jb.TaskRecords(feature, reward, valid)),
            jb.bernoulli_laplace(cov).log_evidence(
                particle, jb.TaskRecords(feature, reward, valid)
            ),
        ),
        lambda most: (
            number(EYE),
            number([0, 1]),
            number([[1, 1], [0, 1]]),
            number([1, 0]),
            np.ones(2, bool),
        ),
    ),
    # Bounds of suboptimality.
    **{
        f.__name__: (f, lambda most: (model(1), number([most, 1]), number([1, 1]), number(1)))
        for f in (
            BOUND.flatopo_bound,
            BOUND.hieropo_sparse_bound,
            BOUND.hieropo_sparse_one_root_bound,
        )
    },
    **{
        f.__name__: (
            f,
            lambda most: (model(1), number([most, 1]), number([1, 1]), GRAMS, number(1)),
        )
        for f in (BOUND.hieropo_bound, BOUND.hieropo_one_root_bound)
    },
    "single_task_bound": (
        BOUND.single_task_bound,
        lambda most: (number(EYE), number(1), number([most, 1]), number(1), number(1)),
    ),
    **{
        f.__name__: (f, lambda most: (number([most, 1]), number([EYE, -EYE])))
        for f in (BOUND.optimal_action, BOUND.optimal_gram)
    },
    **{
        f.__name__: (f, lambda most: (stats(most)._replace(gram=number(GRAMS * 2 * most)), GRAMS))
        for f in (BOUND.task_gamma, BOUND.pairwise_gamma)
    },
    "smallest_gamma": (BOUND.smallest_gamma, lambda most: (number([1, 1]), number([most, 1]))),
    "scale_features": (
        BOUND.scale_features,
        lambda most: (number(most), model(most), stats(most)),
    ),
    "data_dependent_bound": (
        BOUND.data_dependent_bound,
        lambda most: (gaussian(most), number([most, 1]), number([features(most)[:2]]), number(1)),
    ),
    "trace_bound": (BOUND.trace_bound, lambda most: (number(most * EYE), GRAMS[0], number(1))),
    "interval_probability": (
        lambda alpha: BOUND.interval_probability(2, alpha),
        lambda most: (number(1),),
    ),
    # Bounds of regret.
    **{
        f.__name__: of_counts(f, 100)
        for f in (
            BOUND.lcb_logging_regret,
            BOUND.lcb_minimax_regret,
            BOUND.ucb_logging_regret,
            BOUND.ucb_minimax_regret,
            BOUND.lcb_logging_regret_lower,
            BOUND.lcb_minimax_regret_lower,
            BOUND.minimax_regret_lower,
            BOUND.ucb_logging_regret_lower,
        )
    },
    **{
        f.__name__: of_counts(f, 100, 1)
        for f in (BOUND.oto_logging_regret, BOUND.oto_minimax_regret)
    },
    "ucb_regret": of_counts(BOUND.ucb_regret, [1, 0, 1], 100),
    "oto_regret": of_counts(BOUND.oto_regret, [1, 0, 1], 100, 1),
    "ucb_first_round_logging_regret_lower": of_counts(BOUND.ucb_first_round_logging_regret_lower),
    "event_probability": (BOUND.event_probability, lambda most: (number(100),)),
    "bound with confidence": (
        lambda count, horizon, sigma, floor, ceiling: BOUND.ucb_minimax_regret(
            count, horizon, jb.confidence(sigma=sigma, floor=floor, ceiling=ceiling)
        ),
        lambda most: (number([most, 1, 1]), number(100), number(1), number(0), number(most)),
    ),
    # Play.
    **{
        name: plays(getattr(jb, name), *arguments)
        for name, arguments in {
            "ucb": (),
            "lcb": (),
            "oto": (1,),
            "conservative_ucb": (1,),
            "min_ucb": (1,),
            "moss": (1,),
            "epsilon_greedy": (0, 1),
            "explore_then_commit": (2,),
            "fixed_arm": (2,),
            "thompson_bernoulli": (1, 1),
        }.items()
    },
    "thompson_gaussian": plays(jb.thompson_gaussian, 1, prior_mean=1, prior_std=1),
    "confidence": with_confidence(jb.ucb, sigma=1, floor=0, ceiling=1),
    "confidence of OtO": with_confidence(jb.oto, sigma=1, floor=0, ceiling=1),
    "bernoulli_arms": of_arms(jb.bernoulli_arms, lambda most: [0, 1, 0]),
    "gaussian_arms": of_arms(
        jb.gaussian_arms, lambda most: [most, 0, 1], lambda most: [1, most, 1]
    ),
    "reward_table": of_arms(jb.reward_table, lambda most: [[most, 0], [0, most], [1, 1]]),
    "designs": (
        lambda *stds: jb.draw_log(
            KEY,
            design := jb.synthetic_design(
                features=2,
                actions=2,
                tasks=2,
                contexts=4,
                hyper_std=stds[0],
                task_std=stds[1],
                noise_std=stds[2],
            ),
            jb.draw_from_model(KEY, design),
            5,
        ),
        lambda most: (number(most), number(1), number(1)),
    ),
    "draw_log": (
        lambda *instance: jb.draw_log(KEY, DESIGN, jb.Instance(*instance), 5),
        lambda most: (number([most, 1]), number([[most, 1], [1, 0]])),
    ),
}


def cast(arguments, dtype):
    """Arguments with floating arrays of another type, where that holds all numbers of an array."""

    def small(leaf):
        rounded = leaf.astype(jnp.dtype(dtype))
        is_held = leaf.dtype == np.float64 and np.array_equal(rounded.astype(float), leaf)
        return rounded if is_held else leaf

    return jax.tree.map(small, arguments)


def assert_as_floating(found, wanted):
    def compare(one, other):
        if jnp.issubdtype(jnp.result_type(one), jnp.inexact):
            assert jnp.finfo(jnp.result_type(one)).bits >= 32
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)

    jax.tree.map(compare, found, wanted)


def types(usual):
    """All types, of which those that are not usual are slow."""
    return [pytest.param(name, marks=() if name == usual else pytest.mark.slow) for name in LARGEST]


FAR_OR_ALIKE = pytest.mark.filterwarnings(
    "ignore:columns 0 and 1 of log.feature", "ignore:.* so far from zero"
)


@FAR_OR_ALIKE
@pytest.mark.parametrize("dtype", types("float16"))
@pytest.mark.parametrize("name", CALLS)
def test_small_types_give_what_floating_ones_give(name, dtype):
    function, arguments = CALLS[name]
    given = arguments(LARGEST[dtype])
    wanted = function(*jax.tree.map(jnp.asarray, given))
    small = cast(given, dtype)
    assert_as_floating(function(*small), wanted)
    assert_as_floating(function(*jax.tree.map(jnp.asarray, small)), wanted)


@FAR_OR_ALIKE
@pytest.mark.parametrize("dtype", types("int8"))
@pytest.mark.parametrize("name", CALLS)
def test_traced_small_types_give_what_floating_ones_give(name, dtype):
    function, arguments = CALLS[name]
    given = arguments(LARGEST[dtype])
    wanted = jax.jit(function)(*jax.tree.map(jnp.asarray, given))
    assert_as_floating(jax.jit(function)(*cast(given, dtype)), wanted)


@FAR_OR_ALIKE
@pytest.mark.parametrize(
    "forbid",
    [lambda: jax.numpy_rank_promotion("raise"), lambda: jax.numpy_dtype_promotion("strict")],
    ids=["rank", "type"],
)
@pytest.mark.parametrize("name", CALLS)
def test_works_where_promotion_is_forbidden(name, forbid):
    function, arguments = CALLS[name]
    given = jax.tree.map(jnp.asarray, arguments(LARGEST["int8"]))
    wanted = function(*given)
    with forbid():
        found = function(*given)
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_features_of_zero():
    log = jb.BanditLog(np.array([0, 1]), np.zeros((2, 2)), np.array([1.0, 2.0]))
    stats = jb.task_statistics(log, 2)
    traced = jax.jit(lambda log: jb.task_statistics(log, 2))(log)
    for sums in (stats, traced):
        assert not np.any(sums.gram)
        assert sums.square.tolist() == [1, 4]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "bool"])
def test_counts_of_small_types_do_not_overflow(dtype):
    """100 records more than the type holds."""
    most = 1 if dtype == "bool" else np.iinfo(dtype).max
    stats = jb.TaskStatistics(
        np.ones((1, 1, 1)), np.ones((1, 1)), np.ones(1), np.array([most], dtype)
    )
    log = jb.BanditLog(np.zeros(100, int), np.ones((100, 1)), np.ones(100))
    assert jb.scan_statistics(stats, log).count.tolist() == [most + 100]
