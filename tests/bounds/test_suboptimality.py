"""Bounds on suboptimality: against plain formulas, their shape, and messages."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as distributions

import jaxbandit as jb
from tests.bounds import suboptimality_oracle as oracle
from tests.bounds.suboptimality_cases import model_of, random_contexts, random_problem, statistics
from tests.bounds.suboptimality_oracle import Problem
from tests.messages import assert_refused
from tests.simulation.cases import QUICK

B = jb.bounds


@pytest.fixture(scope="module")
def near(x64):
    return 1e-9 if x64 else 3e-4


# Formulas.


def test_terms_are_the_formulas(near):
    rng = np.random.default_rng(0)
    for d, m in ((1, 3), (3, 6)):
        contexts = random_contexts(rng, d)
        problem = random_problem(rng, d, m, contexts)
        optimal = np.stack([oracle.optimal_gram(rng.normal(size=d), contexts) for _ in range(m)])
        model, count = model_of(problem), problem.count
        for gamma in (0.0, 0.2, 3.0):
            bound = B.hieropo_bound(model, count, gamma, optimal, 2.0)
            sparse = B.hieropo_sparse_bound(_diagonal(model), count, gamma, 2.0)
            task = [oracle.task_term(problem.task_cov, 0.5, n, gamma, 2.0) for n in count]
            hyper = oracle.hyper_term(problem, gamma, optimal, 2.0)
            np.testing.assert_allclose(bound.task, task, rtol=near)
            np.testing.assert_allclose(bound.hyper, hyper, rtol=near)
            np.testing.assert_allclose(bound.total, np.array(task) + hyper, rtol=near)
            diagonal = _diagonal(problem)
            hyper = oracle.hyper_term(diagonal, gamma, None, 2.0)
            np.testing.assert_allclose(sparse.hyper, hyper, rtol=near)
            marginal = problem.hyper_cov + problem.task_cov
            flat = [oracle.task_term(marginal, 0.5, n, gamma, 2.0) for n in count]
            np.testing.assert_allclose(B.flatopo_bound(model, count, gamma, 2.0), flat, rtol=near)
            ours = B.hieropo_one_root_bound(model, count, gamma, optimal, 2.0)
            theirs = oracle.one_root(problem, gamma, optimal, 2.0)
            np.testing.assert_allclose(ours, theirs, rtol=near)
            ours = B.hieropo_sparse_one_root_bound(_diagonal(model), count, gamma, 2.0)
            theirs = oracle.one_root(diagonal, gamma, None, 2.0)
            np.testing.assert_allclose(ours, theirs, rtol=near)


def _diagonal(model):
    parts = {
        name: getattr(model, name) * np.eye(len(model.task_cov))
        for name in ("hyper_cov", "task_cov")
    }
    return model._replace(**parts)


def test_gamma_is_the_largest_multiple(x64):
    rng = np.random.default_rng(1)
    for d, m in ((1, 4), (3, 8)):
        contexts = random_contexts(rng, d)
        problem = random_problem(rng, d, m, contexts, longest=60)
        optimal = np.stack([oracle.optimal_gram(rng.normal(size=d), contexts) for _ in range(m)])
        ours = B.task_gamma(statistics(problem.gram, problem.count), optimal)
        for s, n in enumerate(problem.count):
            expected = oracle.gamma(problem.gram[s] / n, optimal[s]) if n else 0.0
            np.testing.assert_allclose(ours[s], expected, rtol=1e-6 if x64 else 2e-3, atol=1e-6)


def test_gamma_does_not_depend_on_units():
    rng = np.random.default_rng(2)
    gram = np.cov(rng.normal(size=(3, 9))) * 9
    optimal = np.diag([0.5, 0.2, 0.1])
    scale = np.array([1.0, 1e-3, 1e-2])
    scaled = np.outer(scale, scale)
    one = B.task_gamma(statistics([gram], [9]), [optimal])
    other = B.task_gamma(statistics([gram * scaled], [9]), [optimal * scaled])
    np.testing.assert_allclose(one, other, rtol=1e-4)
    assert one[0] > 0
    # However many records: rank is not lost to a long log.
    long = B.task_gamma(statistics([gram * 1e5], [900_000]), [optimal])
    np.testing.assert_allclose(one, long, rtol=1e-4)


@pytest.mark.float64
@pytest.mark.parametrize("equal", [False, True])
def test_slopes_of_bounds_and_gamma(equal):
    """Forwards and backwards, against differences, where eigenvalues are equal too."""
    rng = np.random.default_rng(3)
    d, m = 3, 4
    problem = random_problem(rng, d, m, random_contexts(rng, d))
    gram = np.broadcast_to(7 * np.eye(d), (m, d, d)) if equal else problem.gram + np.eye(d)
    optimal = np.stack([np.diag(rng.dirichlet(np.ones(d))) for _ in range(m)])
    changes = rng.normal(size=(3, d, d))
    a, b, c = 0.05 * (changes + np.swapaxes(changes, 1, 2))

    def along(t):
        model = model_of(problem)
        model = model._replace(task_cov=model.task_cov + t * a)
        stats = statistics(gram, np.full(m, 10))
        gamma = B.task_gamma(stats._replace(gram=gram + t * b), optimal + t * c)
        bound = B.hieropo_bound(model, np.full(m, 10), gamma, optimal + t * c, 2.0)
        return jnp.concatenate([gamma, bound.task, bound.hyper[None]])

    expected = (along(1e-6) - along(-1e-6)) / 2e-6
    for slope in (jax.jacfwd(along)(0.0), jax.jacrev(along)(0.0)):
        np.testing.assert_allclose(slope, expected, rtol=1e-5, atol=1e-7)


V = np.ones(2) / np.sqrt(2)


def test_gamma_of_a_singular_log():
    stats = statistics([10 * np.outer(V, V)], [10])
    assert B.task_gamma(stats, [np.diag([1.0, 0.0])])[0] == 0
    np.testing.assert_allclose(B.task_gamma(stats, [np.outer(V, V)]), 1, rtol=1e-5)
    # A feature seen by neither is no obstacle; one seen only by the optimal policy is.
    unseen = statistics([np.diag([4.0, 0.0])], [8])
    np.testing.assert_allclose(B.task_gamma(unseen, [np.diag([0.25, 0.0])]), 2, rtol=1e-5)
    assert B.task_gamma(unseen, [np.diag([0.25, 1e-12])])[0] == 0
    assert B.task_gamma(unseen, [np.zeros((2, 2))])[0] == np.inf
    assert B.task_gamma(statistics([np.zeros((2, 2))], [0]), [np.zeros((2, 2))])[0] == 0


def test_one_gamma_is_the_smallest_over_tasks_with_records():
    assert B.smallest_gamma([0.5, 0.0, 2.0], [3, 0, 1]) == 0.5
    assert B.smallest_gamma([0.5, 0.0], [0, 0]) == 0
    assert B.smallest_gamma([[0.5, 0.25], [9.0, 0.0]], [3, 0]) == 0.25


def test_pairwise_gamma_compares_every_pair():
    gram = np.stack([np.diag(x) for x in ([4.0, 0.0], [2.0, 6.0], [0.0, 0.0])])
    optimal = np.stack([np.diag(x) for x in ([1.0, 0.0], [0.5, 0.5], [0.0, 1.0])])
    ours = B.pairwise_gamma(statistics(gram, [4, 8, 0]), optimal)
    np.testing.assert_allclose(ours, [[1, 0, 0], [0.25, 0.5, 0.75], [0, 0, 0]], rtol=1e-6)


# Widths.


@pytest.mark.parametrize(("features", "delta"), [(1, 0.5), (3, 0.05), (10, 1e-4)])
def test_the_slope_of_exact_alpha(features, delta):
    alpha = distributions.chi2.isf(delta, features) ** 0.5
    # alpha^2 is the quantile, whose slope is one over the density.
    expected = -1 / (2 * alpha * distributions.chi2.pdf(alpha**2, features))
    for slope in (jax.grad, jax.jacfwd):
        np.testing.assert_allclose(
            slope(lambda x: B.exact_alpha(features, x))(delta), expected, rtol=2e-4
        )


@pytest.mark.parametrize("features", [1, 4, 10])
@pytest.mark.parametrize("delta", [1e-8, 0.01, 0.3, 0.9])
def test_exact_alpha_is_the_quantile(features, delta):
    expected = np.sqrt(distributions.chi2.isf(delta, features))
    np.testing.assert_allclose(B.exact_alpha(features, delta), expected, rtol=1e-5)
    np.testing.assert_allclose(
        1 - B.interval_probability(features, expected), delta, rtol=1e-3, atol=3e-7
    )
    if delta <= 1 / np.e:
        assert B.exact_alpha(features, delta) < B.paper_alpha(features, delta)


def test_beyond_one_over_e_the_papers_alpha_is_too_narrow():
    delta = 0.99
    assert B.interval_probability(10, np.sqrt(-5 * 10 * np.log(delta))) < 1 - delta
    assert B.interval_probability(10, B.exact_alpha(10, delta)) >= 1 - delta - 1e-6
    np.testing.assert_allclose(B.paper_alpha(4, np.exp(-1)), np.sqrt(20), rtol=1e-5)
    np.testing.assert_allclose(B.interval_probability(4, B.exact_alpha(4, 0.01), tasks=7), 0.93)


def test_intervals_hold_as_often_as_said():
    # Truth and log from the model: for each task, theta lies in the ellipsoid of width alpha.
    design, runs, delta = jb.synthetic_design(features=2, tasks=3, contexts=4), 3000, 0.2
    alpha = B.exact_alpha(2, delta)

    def one(key):
        instance = jb.draw_from_model(key, design)
        log = jb.draw_log(key, design, instance, 30)
        post = jb.task_posteriors(design.model, jb.task_statistics(log, 3))
        error = instance.task_parameter - post.mean
        distance = jnp.einsum("si,sij,sj->s", error, jnp.linalg.inv(post.cov), error)
        return distance <= alpha**2

    keys = jax.random.split(jax.random.key(3), runs)
    inside = np.asarray(jax.jit(jax.vmap(one), compiler_options=QUICK)(keys))
    error = np.sqrt(delta * (1 - delta) / runs)
    assert np.all(np.abs(inside.mean(axis=0) - (1 - delta)) < 4 * error)
    assert inside.all(axis=1).mean() >= B.interval_probability(2, alpha, tasks=3) - 4 * error


def test_monotone_as_the_theory_says():
    problem = Problem(np.diag([1.0, 0.2]), np.eye(2) * 0.5, 0.5, np.zeros((3, 2, 2)), None)
    model, optimal = model_of(problem), np.stack([np.diag([0.5, 0.25])] * 3)

    @jax.jit
    def bounds(count, gamma, alpha, model=model):
        two = B.hieropo_bound(model, count, gamma, optimal, alpha)
        one = B.hieropo_one_root_bound(model, count, gamma, optimal, alpha)
        return jnp.stack([two.task[0], two.hyper, two.total[0], one[0]])

    count = jnp.asarray([5.0, 0.0, 9.0])
    at = bounds(count, 0.3, 2.0)
    assert np.all(bounds(count.at[0].add(20), 0.3, 2.0) < at)  # more records of the task
    other = bounds(count.at[1].add(20), 0.3, 2.0)  # more records of another
    assert other[0] == at[0]
    assert np.all(other[1:] < at[1:])
    assert np.all(bounds(count, 0.6, 2.0) < at)
    assert np.all(bounds(count, 0.3, 3.0) > at)
    for alpha in (B.paper_alpha, B.exact_alpha):  # bounds grow with alpha, and so fall with delta
        assert np.all(np.diff([alpha(2, delta) for delta in (1e-9, 1e-3, 0.1, 0.36)]) < 0)
    assert np.all(bounds(count, 0.3, 2.0, model._replace(noise_std=jnp.asarray(0.8))) > at)
    # One more task, with records.
    more = B.hieropo_bound(model, jnp.append(count, 7), 0.3, np.stack([optimal[0]] * 4), 2.0)
    assert more.hyper < at[1]
    # Nothing learned: the prior, in finite numbers.
    none = 2 * np.sqrt(4 * 2 * np.array([0.5, 1.0]))
    np.testing.assert_allclose(bounds(count, 0.0, 2.0)[:2], none, rtol=1e-5)
    np.testing.assert_allclose(bounds(0 * count, 0.3, 2.0)[:2], none, rtol=1e-5)
    np.testing.assert_allclose(bounds(count, 1e-12, 2.0)[:2], none, rtol=1e-4)
    # A hyper-parameter that is known costs nothing.
    known = model._replace(hyper_cov=jnp.zeros((2, 2)))
    assert bounds(count, 0.3, 2.0, known)[1] == 0
    np.testing.assert_allclose(bounds(count, 0.3, 2.0, known)[3], at[0], rtol=1e-5)
    # A task whose optimal policy needs one direction only says nothing of the hyper-parameter.
    singular = jnp.stack([jnp.diag(jnp.asarray([1.0, 0.0]))] * 3)
    np.testing.assert_allclose(
        B.hieropo_bound(model, count, 0.3, singular, 2.0).hyper, none[1], rtol=1e-5
    )


def test_features_in_other_units_are_the_same_problem():
    rng = np.random.default_rng(4)
    contexts = 7 * random_contexts(rng, 3)
    feature = contexts.reshape(-1, 3)
    log = jb.BanditLog(np.arange(len(feature)) % 2, feature, rng.normal(size=len(feature)))
    model = jb.HierarchicalGaussian(np.ones(3), np.eye(3), 0.5 * np.eye(3), 0.5)
    stats = jb.task_statistics(log, 2)
    scaled_model, scaled_stats = B.scale_features(7.0, model, stats)
    one, other = jb.task_posteriors(model, stats), jb.task_posteriors(scaled_model, scaled_stats)
    np.testing.assert_allclose(7 * one.mean, other.mean, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(49 * one.cov, other.cov, rtol=1e-3, atol=1e-3)
    B.optimal_gram(np.ones(3), contexts / 7)


MODEL = jb.HierarchicalGaussian(np.zeros(2), np.eye(2), np.eye(2), 1.0)
SKEW = MODEL._replace(task_cov=np.array([[1.0, 0.5], [0.5, 1.0]]))
HALF = np.stack([np.eye(2) / 2] * 3)
COUNT = np.array([1, 0, 4])
BELIEF = jb.Gaussian(np.zeros(2), np.eye(2))
NEGATIVE = jb.Gaussian(np.zeros(2), -np.eye(2))
BAD = {
    "delta zero": (lambda: B.exact_alpha(2, 0.0), r"delta must lie strictly between 0 and 1"),
    "delta one": (lambda: B.paper_alpha(2, 1.0), r"delta must lie strictly between 0 and 1"),
    "delta beyond 1/e": (
        lambda: B.paper_alpha(2, 0.5),
        r"delta must be at most 1/e = 0\.3679.*was 0\.5.*at least 1.*exact_alpha takes any",
    ),
    "gamma negative": (
        lambda: B.hieropo_bound(MODEL, COUNT, -0.1, HALF, 1.0),
        r"gamma must not be negative, was -0\.1",
    ),
    "gamma NaN": (
        lambda: B.single_task_bound(np.eye(2), 1.0, 5, np.nan, 1.0),
        r"gamma must not be negative, was nan",
    ),
    "gamma of other tasks": (
        lambda: B.hieropo_sparse_bound(MODEL, COUNT, np.ones(2), 1.0),
        r"gamma must have shape \[\] or \[tasks\] = \(3,\)",
    ),
    "alpha negative": (
        lambda: B.flatopo_bound(MODEL, COUNT, 1.0, -1.0),
        r"alpha must not be negative",
    ),
    "alpha of other shape": (
        lambda: B.flatopo_bound(MODEL, COUNT, 1.0, np.ones(2)),
        r"count and gamma and alpha must have shapes that broadcast, were \(3,\).* and \(2,\)",
    ),
    "several alphas": (
        lambda: B.hieropo_bound(MODEL, COUNT, 1.0, HALF, np.ones(2)),
        r"alpha must have shape \[\] = \(\), was \(2,\)",
    ),
    "several alphas for the trace": (
        lambda: B.trace_bound(np.eye(2), HALF[0], np.ones(2)),
        r"alpha must have shape \[\] = \(\), was \(2,\)",
    ),
    "several alphas for the contexts": (
        lambda: B.data_dependent_bound(BELIEF, np.ones(2), np.ones((2, 2)), np.ones(2)),
        r"alpha must have shape \[\] = \(\), was \(2,\)",
    ),
    "cov of other d": (
        lambda: B.data_dependent_bound(BELIEF, np.ones(3), np.ones((2, 3)), 1.0),
        r"gaussian\.cov must have shape \[features, features\] = \(3, 3\), was \(2, 2\)",
    ),
    "cov negative": (
        lambda: B.data_dependent_bound(NEGATIVE, np.ones(2), np.ones((2, 2)), 1.0),
        r"gaussian\.cov must be positive semi-definite",
    ),
    "cov negative in the trace": (
        lambda: B.trace_bound(-np.eye(2), HALF[0], 1.0),
        r"cov must be positive semi-definite",
    ),
    "cov a number": (
        lambda: B.trace_bound(1.0, HALF[0], 1.0),
        r"cov must have shape \[features, features\] = \(any, any\), was \(\)",
    ),
    "several noises": (
        lambda: B.single_task_bound(np.eye(2), np.ones(2), 5, 1.0, 1.0),
        r"noise_std must have shape \[\] = \(\), was \(2,\)",
    ),
    "count negative": (
        lambda: B.flatopo_bound(MODEL, -COUNT, 1.0, 1.0),
        r"count must not be negative",
    ),
    "one action's features": (
        lambda: B.optimal_action(np.ones(2), np.ones(2)),
        r"feature must have shape \[..., actions, features\], was \(2,\)",
    ),
    "features NaN": (
        lambda: B.optimal_action(np.ones(2), np.array([[1.0, np.nan]])),
        r"feature must be finite, was nan at index \(0, 1\)",
    ),
    "long features": (
        lambda: B.optimal_gram(np.ones(2), np.array([[[3.0, 4.0], [0.0, 1.0]]])),
        r"norm 1 at most \(Assumption 1.*one has 5;.*scale_features\(5, model, stats\)",
    ),
    "Gram matrices of long features": (
        lambda: B.hieropo_bound(MODEL, COUNT, 1.0, 4 * HALF, 1.0),
        r"optimal_gram must be of features with norm 1.*trace of 4",
    ),
    "covariances that are not diagonal": (
        lambda: B.hieropo_sparse_bound(SKEW, COUNT, 1.0, 1.0),
        r"task_cov must be diagonal.*Assumption 4.*hieropo_bound takes any",
    ),
    "features that are not sparse": (
        lambda: B.pairwise_gamma(statistics([np.ones((2, 2))], [2]), HALF[:1]),
        r"stats\.gram must be diagonal.*Assumption 4.*task_gamma takes any",
    ),
    "scale": (lambda: B.scale_features(0.0, MODEL, None), r"scale must be positive, was 0"),
    "other tasks": (
        lambda: B.hieropo_bound(MODEL, COUNT, 1.0, HALF[:2], 1.0),
        r"optimal_gram must have shape \[tasks, features, features\] = \(3, 2, 2\)",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_messages(case):
    assert_refused(*BAD[case])
