"""Derivatives of the likelihood and of posteriors, against differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from tests.inference.cases import Case, make_case


def problem(kind: str) -> tuple[Case, jb.TaskStatistics]:
    case = make_case(kind, 2)
    return case, jb.task_statistics(case.log, case.tasks)


@pytest.mark.parametrize(
    "kind",
    # Between coordinates far apart, differences of the likelihood have no digits left in float32.
    ["plain", pytest.param("coordinates_apart", marks=pytest.mark.float64)],
)
def test_gradient_of_log_marginal_likelihood(kind, x64):
    """Against central differences, in a random direction of every parameter of the model."""
    case, stats = problem(kind)
    assert_gradient(case.model, stats, x64)


def test_gradient_with_isotropic_task_cov(x64):
    """Equal eigenvalues and variances are no special point."""
    d = 2
    case, stats = problem("plain")
    model = case.model._replace(
        task_cov=0.25 * np.eye(d, dtype=case.model.task_cov.dtype),
        hyper_cov=0.5 * np.eye(d, dtype=case.model.task_cov.dtype),
    )
    assert_gradient(model, stats, x64)


def assert_gradient(model, stats, x64) -> None:
    step = 1e-5 if x64 else 2e-2
    rng = np.random.default_rng(1)
    gradient = jax.grad(jb.log_marginal_likelihood)(
        jb.HierarchicalGaussian(*(jnp.asarray(x) for x in model)), stats
    )
    for name, value in model._asdict().items():
        change = rng.normal(size=np.shape(value))
        if change.ndim == 2:
            scale = np.sqrt(np.diagonal(value))
            change = 0.1 * (change + change.T) * np.outer(scale, scale)
        ends = [
            float(jb.log_marginal_likelihood(model._replace(**{name: value + h * change}), stats))
            for h in (step, -step)
        ]
        slope = (ends[0] - ends[1]) / (2 * step)
        product = float(np.sum(np.asarray(getattr(gradient, name), float) * change))
        # Differences lose half the digits that the function has.
        assert product == pytest.approx(slope, rel=1e-6 if x64 else 2e-2, abs=1e-3 if x64 else 0.3)


@pytest.mark.float64
@pytest.mark.parametrize("rank", [0, 1])
def test_slopes_where_hyper_cov_is_singular(rank):
    """Out of its range too, where its roots have no derivative: against one-sided differences."""
    case, stats = problem("plain")
    root = np.array([[0.3], [-0.5]])[:, :rank]
    change = np.array([[1.0, 0.4], [0.4, 2.0]])

    def along(t):
        model = case.model._replace(hyper_cov=jnp.asarray(root @ root.T) + t * change)
        hyper, post = jb.hyper_posterior(model, stats), jb.task_posteriors(model, stats)
        scalar = jb.log_marginal_likelihood(model, stats)
        return jnp.concatenate([x.ravel() for x in (scalar, *hyper, *post)])

    step = 1e-6
    expected = (4 * along(step) - 3 * along(0.0) - along(2 * step)) / (2 * step)
    for slope in (jax.jacfwd(along)(0.0), jax.jacrev(along)(0.0)):
        np.testing.assert_allclose(slope, expected, rtol=1e-4, atol=1e-4)
