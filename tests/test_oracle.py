"""The oracle against the one formula of every textbook."""

import numpy as np
import pytest

from tests import oracle
from tests.inference.cases import make_case


@pytest.mark.parametrize("kind", ["plain", "hyper_rank_one", "hyper_zero"])
def test_recursion_is_conditioning_all_at_once(kind):
    case = make_case(kind, 2)
    slow = oracle.textbook_posterior(*case.model, case.log, case.tasks)
    steps = oracle.condition_jointly(*case.model, case.log, case.tasks)
    np.testing.assert_allclose(steps.mean, slow.mean, rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(steps.cov, slow.cov, rtol=1e-9, atol=1e-11)
    assert steps.log_density == pytest.approx(slow.log_density, rel=1e-11)


@pytest.mark.parametrize("kind", ["plain", "hyper_zero"])
def test_sums_hold_what_records_do(kind):
    case = make_case(kind, 2)
    records = oracle.condition_jointly(*case.model, case.log, case.tasks)
    gram, moment, _, _ = oracle.task_sums(case.log, case.tasks)
    mean, cov = oracle.condition_on_sums(*case.model, gram, moment)
    tasks = np.arange(1, case.tasks + 1)
    np.testing.assert_allclose(mean, records.mean[1:], rtol=1e-9, atol=1e-11)
    np.testing.assert_allclose(cov, records.cov[tasks, tasks], rtol=1e-9, atol=1e-11)


def test_one_observation_by_hand():
    # theta = mu + v, both of variance 1; y = 2 theta + noise of variance 4 is 3.
    out = oracle.condition_jointly([0.0], np.eye(1), np.eye(1), 2.0, [(0, np.array([2.0]), 3.0)], 1)
    np.testing.assert_allclose(out.mean[:, 0], [2 * 3 / 12, 4 * 3 / 12])
    np.testing.assert_allclose(out.cov[0, 0], 1 - 4 / 12)
    np.testing.assert_allclose(out.cov[1, 1], 2 - 16 / 12)
    assert out.log_density == pytest.approx(-0.5 * (np.log(2 * np.pi * 12) + 9 / 12))
