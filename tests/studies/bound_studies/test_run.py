"""Studies of bounds: their numbers against direct computation, findings that follow them."""

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

import jaxbandit as jb
from jaxbandit.engine.keys import Purpose, purpose_key, run_key
from jaxbandit.environments.linear_tasks import check_design
from jaxbandit.studies.bound_studies import hieropo, oto
from jaxbandit.studies.bound_studies.options import Hieropo, Oto
from jaxbandit.studies.figures import Reporter

MEASURES = [
    "bound",
    "mean",
    "sem",
    "quantile",
    "quantile_low",
    "quantile_high",
    "ratio",
    "coverage",
    "coverage_low",
    "coverage_high",
    "runs",
]


class Progress:
    def __init__(self):
        self.calls = []

    def reporter(self):
        return Reporter(print, lambda name: lambda done, total: self.calls.append((name, done)))


# OtO.

ONLINE = Oto(
    means=(0.5, 0.75, 0.25), counts=(6, 2, 30), horizons=(40,), alphas=(0.5,), delta=(0.1,), runs=64
)


@pytest.fixture(scope="module")
def online():
    progress = Progress()
    return oto.study(ONLINE, progress.reporter()), progress


def test_online_rows(online):
    table = online[0].table
    keys = ["policy", "alpha", "horizon", "samples", "delta", "instance", "against", "instances"]
    assert table.columns == [*keys, *MEASURES, "lower_bound"]
    assert table["lower_bound"].null_count() == len(table)
    assert not any("lower bound" in line for line in online[0].findings)
    assert len(table) == 3 + 2 + 3
    assert online[1].calls[-1] == ("horizon 40", 64)


def test_online_numbers(online):
    table = online[0].table
    known = jb.confidence("paper", delta=0.1 / 80)
    np.testing.assert_allclose(jb.bounds.event_probability(40, known), 0.9, rtol=1e-5)
    out = jb.simulate(
        jax.random.key(0),
        {"OtO": jb.oto(0.5, known)},
        jb.bernoulli_arms([0.5, 0.75, 0.25]),
        horizon=40,
        runs=64,
        offline_count=[6, 2, 30],
    )
    part = table.filter(pl.col("policy") == "OtO")
    best = part.row(by_predicate=pl.col("instances") == "this", named=True)
    regret = out["OtO"].final_regret.astype(float)
    np.testing.assert_allclose(best["mean"], regret.mean(), rtol=1e-5)
    np.testing.assert_allclose(best["quantile"], np.quantile(regret, 0.9), rtol=1e-5)
    bound = jb.bounds.oto_regret([6, 2, 30], [0.5, 0.75, 0.25], 40, 0.5, known)
    np.testing.assert_allclose(best["bound"], bound, rtol=1e-5)
    logging = part.row(by_predicate=pl.col("against") == "logging", named=True)
    value = out["OtO"].logging_regret.mean[-1]
    np.testing.assert_allclose(logging["mean"], value, rtol=1e-4, atol=1e-4)
    bound = jb.bounds.oto_logging_regret([6, 2, 30], 40, 0.5, known)
    np.testing.assert_allclose(logging["bound"], bound, rtol=1e-5)


def test_online_slack_is_a_product(online):
    (one,) = online[0].facts["slack"]
    factors = list(one.values())[4:]
    ucb = online[0].table.filter((pl.col("policy") == "UCB") & (pl.col("against") == "best"))
    row = ucb.row(by_predicate=pl.col("instances") == "any", named=True)
    np.testing.assert_allclose(np.prod(factors), row["bound"] / row["mean"], rtol=1e-5)


def hard(family, **changes):
    """A study of three arms on which a lower bound is proved; all compile to one program."""
    options = {"counts": (30, 4, 9), "horizons": (40,), "alphas": (0.5,), "delta": (0.1,)}
    return oto.study(Oto(family=family, runs=64, **(options | changes)), Progress().reporter())


def is_confirmed(result):
    (line,) = [line for line in result.findings if "lower bound" in line]
    return line.startswith("confirmed")


def test_every_policy_meets_a_pair_of_its_own():
    result = hard("confusable-pair")
    table = result.table.filter(pl.col("against") == "best")
    assert table["instance"].to_list() == [1] * 5 + [2] * 5  # UCB and OtO have two bounds here
    bound = jb.bounds.minimax_regret_lower([30, 4, 9], 40)
    np.testing.assert_allclose(table["lower_bound"], bound, rtol=1e-6)
    logging = result.table.filter(pl.col("against") == "logging")
    assert logging["lower_bound"].null_count() == len(logging)
    # LCB plays the most sampled arm, and so nothing of J: of that, the least sampled is best.
    known = oto.constants(0.1, 40, anytime=False)
    second = jb.hard_instances.confusable_pair([30, 4, 9], 40, known)[1]
    row = table.row(
        by_predicate=(pl.col("policy") == "LCB") & (pl.col("instance") == 2), named=True
    )
    mean = np.asarray(second.environment.mean)
    assert mean.argmax() == 1
    np.testing.assert_allclose(row["mean"], 40 * (mean[1] - mean[0]), rtol=0.2)
    # One of the two suffices, of every policy.
    assert is_confirmed(result)
    first_only = pl.when(pl.col("instance") == 1).then(0.0).otherwise(pl.col("mean"))
    assert oto._findings(result.table.with_columns(mean=first_only))[-1].startswith("confirmed")
    neither = pl.when(pl.col("policy") == "UCB").then(0.0).otherwise(pl.col("mean"))
    missed = result.table.with_columns(mean=neither, sem=pl.lit(0.0))
    assert oto._findings(missed)[-1].startswith("NOT confirmed")


@pytest.mark.parametrize(
    ("family", "policy", "against", "bound"),
    [
        ("lcb-unexplored", "LCB", "best", jb.bounds.lcb_minimax_regret_lower),
        ("lcb-misled", "LCB", "logging", jb.bounds.lcb_logging_regret_lower),
        ("ucb-equalised", "UCB", "logging", jb.bounds.ucb_logging_regret_lower),
    ],
)
def test_instances_of_a_lower_bound(family, policy, against, bound):
    result = hard(family)
    claimed = result.table.drop_nulls("lower_bound")
    assert claimed["policy"].unique().to_list() == [policy]
    assert claimed["against"].unique().to_list() == [against]
    value = float(bound([30, 4, 9], 40, oto.constants(0.1, 40, anytime=False)))
    np.testing.assert_allclose(claimed["lower_bound"], value, rtol=1e-6)
    assert is_confirmed(result)
    assert claimed["mean"][0] < 4 * value


def test_first_round():
    result = hard("ucb-first-round", horizons=(1,))
    (claimed,) = result.table.drop_nulls("lower_bound").iter_rows(named=True)
    assert (claimed["policy"], claimed["against"]) == ("UCB", "logging")
    assert is_confirmed(result)
    with pytest.raises(jb.InputError, match="ucb-first-round, horizon 40: horizons must be 1"):
        hard("ucb-first-round")


def test_unknown_horizon_and_multiples_of_the_counts():
    known = oto.constants(0.1, 40, anytime=True)
    np.testing.assert_allclose(jb.bounds.event_probability(40, known), 0.9, rtol=1e-5)
    result = hard("lcb-misled", anytime=True, multiples=(1, 3))
    assert result.table["samples"].unique().sort().to_list() == [43, 129]
    row = result.table.filter((pl.col("policy") == "LCB") & (pl.col("samples") == 129))[0]
    bound = jb.bounds.lcb_minimax_regret([90, 12, 27], 40, known)
    np.testing.assert_allclose(row["bound"], bound, rtol=1e-6)
    with pytest.raises(jb.InputError, match=r"ucb-equalised, horizon 40: .*fixed delta"):
        hard("ucb-equalised", anytime=True)


def test_a_family_that_there_is_not():
    with pytest.raises(jb.InputError, match=r"family must be one of bernoulli, .*was 'beta'"):
        hard("beta")


# HierOPO.

OFFLINE = Hieropo(tasks=(2, 6), records=(8, 40), delta=(0.1,), contexts=20, runs=16)


@pytest.fixture(scope="module")
def offline():
    progress = Progress()
    return hieropo.study(OFFLINE, progress.reporter()), progress


def test_offline_rows(offline):
    table = offline[0].table
    keys = ["tasks", "records", "delta", "width", "alpha", "policy", "bound_name"]
    assert table.columns == [*keys, "task_term", "hyper_term", *MEASURES]
    assert len(table) == 2 * 2 * 2 * 6
    assert [call for call in offline[1].calls if call[1] == 16] == [
        ("2 tasks", 16),
        ("6 tasks", 16),
    ]


def test_offline_bounds_are_ordered(offline):
    chain = ["2 E[c]", "one root", "theorem 2, gamma of each task", "theorem 2"]
    keys = ["tasks", "records", "width"]
    for _, part in offline[0].table.filter(pl.col("policy") == "HierOPO").group_by(keys):
        bound = dict(zip(part["bound_name"], part["bound"], strict=True))
        assert np.all(np.diff([bound[name] for name in chain]) >= 0)
    # A bound is proportional to alpha.
    wide, exact = (
        offline[0].table.filter(pl.col("width") == width).sort(*keys[:2], "policy", "bound_name")
        for width in ("paper", "exact")
    )
    scale = float(jb.bounds.paper_alpha(4, 0.1) / jb.bounds.exact_alpha(4, 0.1))
    np.testing.assert_allclose(wide["bound"] / exact["bound"], scale, rtol=1e-5)


def test_a_run_is_what_the_library_computes():
    """One run of two tasks of three, of 12 records a task of forty, step by step."""
    alpha, records = 2.0, (12, 40)
    design = check_design(jb.synthetic_design(tasks=2, max_tasks=3, contexts=20))
    key = run_key(jax.random.key(7), 5)
    got = hieropo._run(key, design, jnp.asarray([alpha]), records)
    instance = design.draw_instance(purpose_key(key, Purpose.INSTANCE), design)
    log = jb.draw_log(key, design, instance, 24)
    contexts = design.draw_features(purpose_key(key, Purpose.CONTEXTS), design, (20, 5))
    stats = jb.task_statistics(log, tasks=2)
    theta, model = instance.task_parameter[:2], design.model
    posterior = jax.tree.map(lambda x: x[0], jb.task_posteriors(model, stats))
    action = jb.pessimistic_action(posterior, contexts, alpha)
    lost = jb.suboptimality(theta[0], contexts, action)
    np.testing.assert_allclose(got["lost"]["HierOPO"][0, 0], lost, rtol=1e-3, atol=1e-5)
    optimal = jnp.stack([jb.bounds.optimal_gram(one, contexts) for one in theta])
    gammas = jb.bounds.task_gamma(stats, optimal)
    gamma = jb.bounds.smallest_gamma(gammas, stats.count)
    assert 0 < gamma < 0.9 * max(gammas)
    bound = jb.bounds.hieropo_bound(model, stats.count, gamma, optimal, 1.0)
    unit = {name: float(value[0]) for name, value in got["unit"].items()}
    np.testing.assert_allclose(unit["task"], bound.task[0], rtol=1e-3)
    np.testing.assert_allclose(unit["hyper"], bound.hyper, rtol=1e-3)
    flat = jb.bounds.flatopo_bound(model, stats.count[0], gammas[0], 1.0)
    np.testing.assert_allclose(unit["flat"], flat, rtol=1e-3)
    twice = jb.bounds.data_dependent_bound(posterior, theta[0], contexts, 1.0)
    np.testing.assert_allclose(unit["contexts"], twice, rtol=1e-3)
    away = np.abs(contexts @ (theta[0] - posterior.mean))
    spread = np.sqrt(np.einsum("cai,ij,caj->ca", contexts, posterior.cov, contexts))
    np.testing.assert_allclose(unit["needed"], np.max(away / spread), rtol=1e-2)


def test_steps_are_a_product():
    rng = np.random.default_rng(0)
    names = ["task", "hyper", "own task", "own hyper", "own one root", "trace", "contexts"]
    unit = {
        name: np.full(50, value) for name, value in zip(names, rng.uniform(1, 2, 7), strict=True)
    }
    unit["needed"] = rng.uniform(1, 3, 50)
    widths = tuple(float(of(4, 0.05)) for of in (jb.bounds.paper_alpha, jb.bounds.exact_alpha))
    found = hieropo.steps(4, 0.05, widths, rng.uniform(size=50), unit)
    whole = found.pop("product")
    np.testing.assert_allclose(np.prod(list(found.values())), whole, rtol=1e-6)
    # d + 2 sqrt(d L) + 2 L, L = log 20, against 5 d L
    tail = 4 + 2 * np.sqrt(4 * np.log(20)) + 2 * np.log(20)
    np.testing.assert_allclose(
        found["rounding to 5 d log"], np.sqrt(20 * np.log(20) / tail), rtol=1e-6
    )
    assert found["chi-square tail"] > 1


@pytest.mark.parametrize("study", ["online", "offline"])
def test_findings_follow_the_numbers(study, request):
    result = request.getfixturevalue(study)[0]
    findings = {"online": oto, "offline": hieropo}[study]._findings
    assert findings(result.table)[0].startswith("confirmed")
    missed = result.table.with_columns(coverage_high=pl.lit(0.89))
    assert findings(missed)[0].startswith("NOT confirmed")
    edge = result.table.with_columns(coverage=pl.lit(0.85), coverage_high=pl.lit(0.91))
    assert findings(edge)[0].startswith("confirmed")


def test_terms_that_rise_are_not_confirmed(offline):
    lines = hieropo._findings(offline[0].table)
    assert "confirmed: the hyper term falls with tasks" in lines
    rising = offline[0].table.with_columns(
        hyper_term=pl.col("tasks") * 1.0, task_term=pl.col("records") * 1.0
    )
    wrong = hieropo._findings(rising)
    assert "NOT confirmed: the hyper term falls with tasks" in wrong
    assert "NOT confirmed: the task term falls with records" in wrong
