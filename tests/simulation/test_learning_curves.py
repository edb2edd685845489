"""Learning curves against a loop over the same draws, and what the paper says of them."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from jaxbandit.engine import tiles
from jaxbandit.engine.keys import Purpose, purpose_key, run_key
from jaxbandit.simulation import learning_curves
from tests import oracle

KEY = jax.random.key(11)
RECORDS = (7, 40, 130, 150)
NAMES = ("HierOPO", "FlatOPO", "OracleOPO")


def tiny(**changes):
    return (
        jb.synthetic_design(
            features=2, actions=3, tasks=3, max_tasks=4, contexts=20, alpha=0.7, hyper_std=1.0
        )
        if not changes
        else replace(tiny(), **changes)
    )


def first_action(key, design, choices):
    """Logs the action whose first feature is largest."""
    return jnp.argmax(choices[:, 0])


def weighted(design):
    return replace(design, task_weights=np.array([0.2, 0.0, 0.8, 5.0], np.float32))


DESIGNS = {
    "uniform": tiny(),
    "weights": weighted(tiny()),
    "logging_policy": tiny(logging_policy=first_action),
    "few runs at once": tiny(max_tasks=300, contexts=400),
}


@pytest.mark.parametrize("name", DESIGNS)
def test_runs_at_once(name):
    few = learning_curves.runs_at_once(16, learning_curves._numbers(DESIGNS[name], 90, 3))
    assert few == (2 if name == "few runs at once" else 16)


@pytest.mark.parametrize("name", DESIGNS)
def test_curves_are_those_of_a_loop(name):
    design, runs = DESIGNS[name], 3
    out = jb.simulate_offpolicy(KEY, design, runs=runs, records=RECORDS)
    expected = {policy: np.zeros((runs, len(RECORDS))) for policy in NAMES}
    for run in range(runs):
        for policy, curve in loop_over(run_key(KEY, run), design).items():
            expected[policy][run] = curve
    for policy in NAMES:
        np.testing.assert_allclose(
            out.suboptimality[policy].mean, expected[policy].mean(axis=0), rtol=1e-4, atol=1e-6
        )
        np.testing.assert_allclose(
            out.suboptimality[policy].std,
            expected[policy].std(axis=0, ddof=1),
            rtol=1e-3,
            atol=1e-6,
        )
    paired = expected["FlatOPO"] - expected["HierOPO"]
    for moments, sign in (
        (out.paired("FlatOPO", "HierOPO"), 1),
        (out.paired("HierOPO", "FlatOPO"), -1),
    ):
        np.testing.assert_allclose(moments.mean, sign * paired.mean(axis=0), rtol=1e-3, atol=1e-6)
        sem = paired.std(axis=0, ddof=1) / np.sqrt(runs)
        np.testing.assert_allclose(moments.sem, sem, rtol=1e-3, atol=1e-6)


def loop_over(key, design):
    """Curves of one run: jaxbandit draws, everything else is the oracle's."""
    checked = learning_curves.check_design(design)
    m, model = int(checked.tasks), [np.asarray(field, float) for field in checked.model]
    instance = jb.draw_from_model(purpose_key(key, Purpose.INSTANCE), checked)
    log = jb.draw_log(key, checked, instance, RECORDS[-1])
    shape = (design.actions, design.contexts)
    contexts = jb.draw_uniform_features(purpose_key(key, Purpose.CONTEXTS), checked, shape)
    contexts = np.moveaxis(np.asarray(contexts, float), 0, 1)
    theta = np.asarray(instance.task_parameter, float)[:m]
    curves = {policy: [] for policy in NAMES}
    for n in RECORDS:
        prefix = jb.BanditLog(*(field[:n] for field in log))
        joint = oracle.condition_jointly(*model, prefix, m)
        tasks = np.arange(1, m + 1)
        posteriors = {
            "HierOPO": (joint.mean[1:], joint.cov[tasks, tasks]),
            "FlatOPO": oracle.condition_alone(model[0], model[1] + model[2], model[3], prefix, m),
            "OracleOPO": oracle.condition_alone(
                np.asarray(instance.hyper_parameter, float), model[2], model[3], prefix, m
            ),
        }
        for policy, (means, covs) in posteriors.items():
            curves[policy].append(
                oracle.mean_suboptimality(theta, means, covs, contexts, float(design.alpha))
            )
    return curves


def test_a_longer_log_begins_with_the_shorter():
    design = learning_curves.check_design(tiny())
    instance = jb.draw_from_model(KEY, design)
    longest = jb.draw_log(KEY, design, instance, 300)
    for n in (1, 128, 129, 299):
        for one, two in zip(jb.draw_log(KEY, design, instance, n), longest, strict=True):
            np.testing.assert_array_equal(one, two[:n])


def test_log_follows_its_model():
    """Uniform tasks and features; rewards with the right mean and noise."""
    design, n = learning_curves.check_design(tiny()), 20_000
    instance = jb.draw_from_model(KEY, design)
    log = jb.draw_log(KEY, design, instance, n)
    share = np.bincount(np.asarray(log.task), minlength=4) / n
    assert share[3] == 0  # tasks=3 of max_tasks=4
    assert np.all(np.abs(share[:3] - 1 / 3) < 4 * np.sqrt(2 / 9 / n))
    feature = np.asarray(log.feature, float)
    assert np.all(np.abs(feature.mean(axis=0)) < 4 * np.sqrt(1 / 12 / n))
    assert np.all(np.abs(feature.var(axis=0) - 1 / 12) < 4 * np.sqrt(1 / 180 / n))
    theta = np.asarray(instance.task_parameter, float)[np.asarray(log.task)]
    noise = np.asarray(log.reward, float) - np.sum(feature * theta, axis=1)
    assert abs(noise.mean()) < 4 * 0.5 / np.sqrt(n)
    assert abs(noise.std() - 0.5) < 4 * 0.5 / np.sqrt(2 * n)
    assert abs(np.corrcoef(noise, feature[:, 0])[0, 1]) < 4 / np.sqrt(n)


def test_task_weights_are_respected():
    design, n = learning_curves.check_design(weighted(tiny())), 20_000
    log = jb.draw_log(KEY, design, jb.draw_from_model(KEY, design), n)
    share = np.bincount(np.asarray(log.task), minlength=4) / n
    np.testing.assert_array_equal(share[[1, 3]], 0)
    assert abs(share[0] - 0.2) < 4 * np.sqrt(0.16 / n)


def test_logging_policy_is_respected():
    """The largest of three uniform features has mean 1/4, the other is uniform still."""
    design, n = learning_curves.check_design(tiny(logging_policy=first_action)), 5_000
    log = jb.draw_log(KEY, design, jb.draw_from_model(KEY, design), n)
    mean = np.asarray(log.feature, float).mean(axis=0)
    assert abs(mean[0] - 0.25) < 4 * np.sqrt(3 / 80 / n)
    assert abs(mean[1]) < 4 * np.sqrt(1 / 12 / n)


def test_instances_follow_the_model():
    mixing = np.array([[1.0, 0.0], [0.5, 0.0]])  # of rank one
    model = jb.HierarchicalGaussian(
        np.array([2.0, -1.0]), mixing @ mixing.T, np.array([[0.5, 0.2], [0.2, 0.3]]), 1.0
    )
    design, n = learning_curves.check_design(tiny(model=model)), 20_000
    out = jax.vmap(lambda key: jb.draw_from_model(key, design))(jax.random.split(KEY, n))
    hyper = np.asarray(out.hyper_parameter, float)
    apart = np.asarray(out.task_parameter, float)[:, 0] - hyper
    np.testing.assert_allclose(hyper.mean(axis=0), model.hyper_mean, atol=4 / np.sqrt(n))
    np.testing.assert_allclose(np.cov(hyper.T), model.hyper_cov, atol=6 / np.sqrt(n))
    np.testing.assert_allclose(np.cov(apart.T), model.task_cov, atol=6 / np.sqrt(n))
    np.testing.assert_allclose(hyper[:, 1] + 1, (hyper[:, 0] - 2) / 2, atol=1e-5)


def prior_only(model, stats, hyper_parameter):
    """An algorithm of one's own: never learns."""
    m = stats.count.shape[0]
    return jb.Gaussian(
        jnp.broadcast_to(model.hyper_mean, (m, model.hyper_mean.shape[0])),
        jnp.broadcast_to(model.task_cov, (m, *model.task_cov.shape)),
    )


def test_an_algorithm_of_ones_own():
    algorithms = {"prior": prior_only, "hier": jb.hieropo}
    out = jb.simulate_offpolicy(KEY, tiny(), runs=64, records=RECORDS, algorithms=algorithms)
    assert list(out.suboptimality) == ["prior", "hier"]
    flat = out.suboptimality["prior"].mean
    np.testing.assert_array_equal(flat, flat[0])  # it does not look at the log
    assert np.all(out.paired("prior", "hier").mean > 0)
    same = jb.simulate_offpolicy(KEY, tiny(), runs=64, records=RECORDS)
    np.testing.assert_allclose(
        out.suboptimality["hier"].mean, same.suboptimality["HierOPO"].mean, rtol=1e-5
    )


@pytest.mark.parametrize("part", ["mean", "cov"])
def test_a_posterior_that_is_not_finite_is_a_run_left_out(part):
    def broken(model, stats, hyper_parameter):
        """Wrong for one task of the runs whose first hyper-parameter is above its mean."""
        posterior = jb.hieropo(model, stats, hyper_parameter)
        wrong = getattr(posterior, part).at[1].set(jnp.nan)
        wrong = jnp.where(hyper_parameter[0] > 0, wrong, getattr(posterior, part))
        return posterior._replace(**{part: wrong})

    runs, design = 40, tiny()
    with pytest.warns(UserWarning, match="of 40 runs are left out"):
        out = jb.simulate_offpolicy(
            KEY, design, runs=runs, records=(20,), algorithms={"broken": broken}
        )
    instance = jax.vmap(
        lambda run: design.draw_instance(
            purpose_key(run_key(KEY, run), Purpose.INSTANCE), design
        ).hyper_parameter[0]
    )(jnp.arange(runs))
    bad = np.flatnonzero(np.asarray(instance) > 0)
    assert 0 < len(bad) < runs
    np.testing.assert_array_equal(out.non_finite, bad)
    assert out.suboptimality["broken"].count == runs - len(bad)
    said = "OffPolicyResult: 40 runs, suboptimality after 20 records"
    assert repr(out).startswith(f"{said} ({len(bad)} runs left out)\n  broken  ")


def test_tasks_that_do_not_exist_count_for_nothing():
    def mean_of_records(model, stats, hyper_parameter):
        posterior = jb.hieropo(model, stats, hyper_parameter)
        missing = jnp.arange(4)[:, None] >= 3
        return posterior._replace(mean=jnp.where(missing, jnp.nan, posterior.mean))

    algorithms = {"HierOPO": jb.hieropo, "mean": mean_of_records}
    out = jb.simulate_offpolicy(KEY, tiny(), runs=20, records=(20,), algorithms=algorithms)
    assert len(out.non_finite) == 0
    np.testing.assert_array_equal(out.paired("HierOPO", "mean").mean, 0)


def test_a_run_is_the_same_whatever_the_number_of_runs_and_threads():
    one = jb.simulate_offpolicy(KEY, tiny(), runs=70, records=RECORDS, threads=1)
    two = jb.simulate_offpolicy(KEY, tiny(), runs=70, records=RECORDS, threads=2)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_swept_numbers_do_not_compile_again():
    tiles._PREPARED._values.clear()
    jb.simulate_offpolicy(KEY, tiny(), runs=1, records=RECORDS)
    for changes in ({"alpha": 0.2}, {"tasks": 2}, {"hyper_std": 2.0}, {"noise_std": 0.1}):
        settings = {"tasks": 3, "alpha": 0.7, "hyper_std": 1.0} | changes
        design = jb.synthetic_design(features=2, actions=3, max_tasks=4, contexts=20, **settings)
        jb.simulate_offpolicy(KEY, design, runs=5, records=RECORDS)
    assert len(tiles._PREPARED) == 1


def test_what_the_paper_says():
    """HierOPO is below FlatOPO and closer to OracleOPO, most of all with few records."""
    out = jb.simulate_offpolicy(
        KEY, jb.synthetic_design(hyper_std=1.0, contexts=200), runs=128, records=(100, 1000)
    )
    flat, oracle_gap = out.paired("FlatOPO", "HierOPO"), out.paired("HierOPO", "OracleOPO")
    assert np.all(flat.mean > 4 * flat.sem)
    assert np.all(np.abs(oracle_gap.mean) < flat.mean)
    assert flat.mean[0] > flat.mean[1]
    for curve in out.suboptimality.values():
        assert np.all(curve.mean > 0)
        assert curve.mean[1] < curve.mean[0]
    # The same runs: differences are known better than each curve.
    assert np.all(flat.sem < out.suboptimality["FlatOPO"].sem)


def test_one_size_of_the_log_may_be_a_number():
    jobs = [learning_curves.prepare(tiny(), runs=2, records=records) for records in (7, (7,))]
    assert jobs[0].static == jobs[1].static


def test_paired_knows_its_names():
    out = jb.simulate_offpolicy(KEY, tiny(), runs=2, records=RECORDS)
    np.testing.assert_array_equal(out.paired("FlatOPO", "FlatOPO").mean, 0)
    with pytest.raises(jb.InputError, match=r"no algorithm 'Flat' was simulated, only HierOPO, "):
        out.paired("Flat", "HierOPO")
