"""Rewards moved by a constant beside a constant column: nothing else changes, or it is said.

Sums of squares keep seven digits in float32, and what lies far from zero takes them all.
"""

import warnings

import jax
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.datasets.factorization import factorize
from jaxbandit.datasets.movielens import Ratings

TASKS, RECORDS = 30, 1500
SHIFTS = [1e2, 1e4, 1e6]
_RNG = np.random.default_rng(0)
TASK = np.repeat(np.arange(TASKS), RECORDS // TASKS)
X = _RNG.normal(size=RECORDS)
FEATURE = np.column_stack([np.ones(RECORDS), X])
THETA = _RNG.normal([0.0, 1.0], [0.5, 0.3], (TASKS, 2))
REWARD = np.sum(FEATURE * THETA[TASK], axis=1) + _RNG.normal(0, 0.3, RECORDS)
HALF, TARGET = np.full(RECORDS, 0.5), _RNG.uniform(0, 1, RECORDS)
USER, MOVIE = np.divmod(np.arange(600), 20)
RATING = _RNG.normal(size=(30, 2)) @ _RNG.normal(size=(2, 20)) + 0.3 * _RNG.normal(size=(30, 20))
TASK_COV = np.diag([0.25, 0.09])


def model(shift):
    return jb.HierarchicalGaussian(np.array([shift, 1.0]), np.eye(2), TASK_COV, 0.3)


def log(shift):
    return jb.BanditLog(TASK, FEATURE, REWARD + shift)


def summed(shift):
    return jb.task_statistics(log(shift), TASKS)


def scanned(shift):
    return jb.scan_statistics(jb.empty_statistics(TASKS, 2), log(shift))


def added(shift):
    """Sums that nothing has looked at."""
    add = jax.jit(jb.add_record)
    stats = jb.empty_statistics(TASKS, 2)
    for record in zip(*log(shift), strict=True):
        stats = add(stats, jb.BanditLog(*record))
    return stats


def of_gaussian(gaussian, shift):
    mean = np.asarray(gaussian.mean, float) - np.array([shift, 0])
    return mean, gaussian.cov


def posteriors(sums):
    return lambda shift: of_gaussian(jb.task_posteriors(model(shift), sums(shift)), shift)


def hyper(shift):
    return of_gaussian(jb.hyper_posterior(model(shift), summed(shift)), shift)


def oracle(shift):
    hyper_parameter = np.array([shift, 1.0])
    found = jb.oracle_posteriors(model(shift), summed(shift), hyper_parameter)
    return of_gaussian(found, shift)


def flat(shift):
    return of_gaussian(jb.flat_posteriors(model(shift), summed(shift)), shift)


def likelihood(shift):
    return jb.log_marginal_likelihood(model(shift), summed(shift))


def of_model(fitted, shift):
    return fitted.noise_std, fitted.task_cov, fitted.hyper_mean[..., 0] - shift


def fitted(shift):
    fit = jb.fit_hierarchy(summed(shift))
    return *of_model(fit, shift), fit.report.log_likelihood


def mixture(shift):
    fit = jb.fit_hierarchy_mixture(summed(shift), 1, restarts=1)
    return *of_model(fit, shift), fit.log_likelihood


def value_of(estimate):
    def of(shift):
        value = estimate(shift)
        return value.value - shift, value.std_error, value.gain, value.gain_std_error

    return of


def doubly_robust(shift):
    predicted, of_target = X + shift, X * TARGET + shift
    return jb.doubly_robust_value(REWARD + shift, HALF, TARGET, predicted, of_target)


def held_out(shift):
    prediction = jb.predict(jb.task_posteriors(model(shift), summed(shift)), log(shift), 0.3)
    return jb.score_held_out(prediction, REWARD + shift)[:2]


def particles(shift):
    return np.array([[shift, 1.0], [shift + 0.1, 1.0], [shift - 0.2, 0.9]])


LINEAR = jb.linear_gaussian(TASK_COV, 0.3)


def weights(shift):
    return jb.particle_log_weights(particles(shift), LINEAR.log_evidence, summed(shift))


def marginal(shift):
    found = jb.marginal_posteriors(particles(shift), LINEAR.conditional, summed(shift))
    return of_gaussian(found, shift)


def completed(shift):
    ratings = Ratings(USER, MOVIE, np.float32(RATING.ravel() + shift), *map(np.arange, (30, 20)))
    return factorize(ratings, rank=3, sweeps=5)[2:]


def beside_a_constant(key, design, shape):
    return jb.draw_uniform_features(key, design, shape).at[..., 0].set(1.0)


def design(shift):
    return jb.OffPolicyDesign(
        model(shift),
        jb.draw_from_model,
        beside_a_constant,
        max_tasks=5,
        actions=4,
        contexts=20,
    )


def drawn(shift):
    key, of = jax.random.key(0), design(shift)
    records = jb.draw_log(key, of, of.draw_instance(key, of), 50)
    return np.asarray(records.reward, float) - shift, records.feature


def offline(shift):
    found = jb.simulate_offpolicy(jax.random.key(0), design(shift), runs=64, records=(50, 200))
    return [curve.mean for curve in found.suboptimality.values()]


def online(shift):
    found = jb.simulate_hierarchical(
        jax.random.key(0), design(shift), rounds=50, records=50, runs=64
    )
    return [regret.mean[-1] / 50 for regret in found.regret.values()]


MEMBERS = {
    "task_posteriors": (posteriors(summed), 2e-3),
    "of scan_statistics": (posteriors(scanned), 2e-3),
    "of add_record": (posteriors(added), 2e-3),
    "hyper_posterior": (hyper, 2e-3),
    "oracle_posteriors": (oracle, 2e-3),
    "flat_posteriors": (flat, 2e-3),
    "log_marginal_likelihood": (likelihood, 0.1),
    "fit_hierarchy": (fitted, 0.1),
    "fit_hierarchy_mixture": (mixture, 0.1),
    "ips_value": (value_of(lambda c: jb.ips_value(REWARD + c, HALF, HALF)), 1e-4),
    "snips_value": (value_of(lambda c: jb.snips_value(REWARD + c, HALF, TARGET)), 1e-4),
    "doubly_robust_value": (value_of(doubly_robust), 1e-4),
    "score_held_out": (held_out, 2e-3),
    "particle_log_weights": (weights, 0.1),
    "marginal_posteriors": (marginal, 2e-3),
    "factorize": (completed, 1e-3),
    "draw_log": (drawn, 1e-3),
    "simulate_offpolicy": (offline, 2e-3),
    "simulate_hierarchical": (online, 2e-3),
}
WITHOUT_SHIFT = (
    "log_marginal_likelihood",
    "score_held_out",
    "particle_log_weights",
    "factorize",
    "simulate_offpolicy",
    "simulate_hierarchical",
)
"""Results of these say nothing of where rewards lie."""
SAID = "far from zero"


@pytest.mark.float32
@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("name", MEMBERS)
def test_a_shift_changes_nothing_or_is_refused_or_warned_of(name: str, shift: float) -> None:
    """To the tolerance and, for results that hold the shift, four roundings of that.

    Fails where any of the warnings or refusals of `offpolicy.digits` is dropped, and where values
    of policies are computed of raw rewards.
    """
    compute, tolerance = MEMBERS[name]
    unmoved = jax.tree.leaves(compute(0.0))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            moved = jax.tree.leaves(compute(shift))
        except jb.InputError as error:
            message = str(error)
            assert SAID in message
            assert "subtract" in message or "lower it" in message
            return
    said = [str(warning.message) for warning in caught]
    assert all(SAID in message and "subtract" in message for message in said)
    if said:
        return
    rounding = 0.0 if name in WITHOUT_SHIFT else 2.4e-7 * shift
    for found, wanted in zip(moved, unmoved, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance + rounding)


QUIET = ("ips_value", "snips_value", "doubly_robust_value")


@pytest.mark.parametrize("shift", SHIFTS)
@pytest.mark.parametrize("name", QUIET)
def test_gains_and_errors_of_values_do_not_depend_on_a_shift(name: str, shift: float) -> None:
    """They carry no rounding of the shift; raw rewards would bring some 1e-3 at 1e6."""
    compute, _ = MEMBERS[name]
    found, wanted = compute(shift)[1:], compute(0.0)[1:]
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", MEMBERS)
def test_what_lies_near_zero_is_not_warned_of(name: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = jax.tree.leaves(MEMBERS[name][0](0.0))
    assert [str(warning.message) for warning in caught] == []
    assert all(np.all(np.isfinite(np.asarray(leaf, float))) for leaf in result)


@pytest.mark.parametrize("shift", [310.0, 1e4, 1e6])
@pytest.mark.filterwarnings("ignore:log.reward lies so far from zero")
def test_a_fit_of_rewards_far_from_zero_is_refused_with_the_remedy(shift):
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(30), 50)
    reward = shift + rng.normal(0, 0.5, 30)[task] + rng.normal(0, 0.3, 1500)
    stats = jb.task_statistics(jb.BanditLog(task, np.ones((1500, 1)), reward), 30)
    with pytest.raises(jb.InputError, match="subtract their mean, or set JAX_ENABLE_X64=1"):
        jb.fit_hierarchy(stats)
