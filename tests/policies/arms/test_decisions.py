"""Every decision of every policy against the oracle, and the limits in which OtO is UCB or LCB."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbandit as jb
from tests.simulation import cases, oracle
from tests.simulation.cases import BUDGETS, Setting, both, random_instance, settings, synthetic

ALPHA = {False: 0.2, True: 0.6}
RUNS, HORIZON = 20, 2000

# In float32, budgets near zero round to either side: then decisions differ.
in_float64 = pytest.mark.float64


def assert_agree(ours, theirs, policy, tolerance=1e-9):
    """Arms and rewards in every round; OtO's budget of the round to come, and its LCB rounds."""
    np.testing.assert_array_equal(ours.arm, theirs.arm)
    np.testing.assert_allclose(ours.reward, theirs.reward, rtol=tolerance, atol=tolerance)
    if policy == "oto":
        np.testing.assert_array_equal(ours.info["lcb_rounds"], theirs.lcb_rounds)
        np.testing.assert_allclose(
            ours.info["budget"][:, :-1], theirs.budget[:, 1:], rtol=tolerance, atol=tolerance
        )


def name_of(setting):
    return f"{setting.preset}-{'unknown' if setting.anytime else 'known'}"


@in_float64
@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("setting", settings(), ids=name_of)
@pytest.mark.parametrize("budget", BUDGETS)
def test_oto_decides_as_the_oracle(budget, setting, which):
    alpha = ALPHA[setting.anytime]
    assert_agree(
        *both(synthetic(which, RUNS), HORIZON, setting, alpha=alpha, budget=budget), policy="oto"
    )


@in_float64
@pytest.mark.slow
@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("setting", settings(), ids=name_of)
@pytest.mark.parametrize("budget", BUDGETS)
def test_oto_decides_as_the_oracle_in_a_thousand_runs(budget, setting, which):
    instance, alpha = synthetic(which, 1000, seed=1), ALPHA[setting.anytime]
    assert_agree(*both(instance, HORIZON, setting, alpha=alpha, budget=budget), policy="oto")


@in_float64
@pytest.mark.parametrize("setting", settings(), ids=name_of)
@pytest.mark.parametrize("policy", ["ucb", "lcb"])
def test_ucb_and_lcb_decide_as_the_oracle(policy, setting):
    for which in (1, 2):
        assert_agree(*both(synthetic(which, RUNS), HORIZON, setting, policy), policy=policy)


# Positions of the arms, the setting and the budget that are tried by default.
USUAL = {(0, 1, 2), (2, 2, 1), (4, 3, 0), (4, 0, 1)}


def random_cases():
    """All arms x settings x budgets; a few of them by default."""
    for i, arms in enumerate((1, 2, 5, 20, 40, 250, 1000)):
        for j, setting in enumerate(settings()):
            for k, budget in enumerate(BUDGETS):
                usual = (i, j, k) in USUAL
                marks = () if usual else pytest.mark.slow
                name = f"{arms}-{name_of(setting)}-{budget}"
                yield pytest.param(arms, setting, budget, marks=marks, id=name)


@in_float64
@pytest.mark.parametrize(("arms", "setting", "budget"), list(random_cases()))
def test_oto_decides_as_the_oracle_on_random_instances(arms, setting, budget):
    horizon = 4 * arms if arms > 100 else 150
    left_lcb = 0
    for seed, alpha in enumerate((0.02, 0.3, 2.0)):
        instance = random_instance(arms, 10, seed)
        ours, theirs = both(instance, horizon, setting, alpha=alpha, budget=budget)
        assert_agree(ours, theirs, "oto")
        left_lcb += np.sum(np.diff(theirs.lcb_rounds, axis=1, prepend=0) == 0)
    assert left_lcb > 0


@in_float64
@pytest.mark.parametrize(
    "arms", [5] + [pytest.param(arms, marks=pytest.mark.slow) for arms in (1, 2, 20, 40, 250, 1000)]
)
def test_ucb_and_lcb_decide_as_the_oracle_on_random_instances(arms):
    horizon = 2 * arms if arms > 100 else 150
    for setting in settings()[:2]:
        for policy in ("ucb", "lcb"):
            assert_agree(
                *both(random_instance(arms, 10, arms), horizon, setting, policy), policy=policy
            )


def gaussian_pair(horizon, setting, policy, **options):
    """Normal rewards, which make no ties, from the package's own draws."""
    count, runs = np.array([5, 0, 12, 3]), 10
    mean, std = np.array([0.2, 0.5, 0.6, 0.4]), np.array([0.5, 0.1, 0.3, 0.5])
    total = np.random.default_rng(4).normal(count * mean, np.sqrt(count) * std, (runs, 4))
    total = np.asarray(total, np.float32).astype(float)
    environment = jb.gaussian_arms(mean, std)
    maker = {"ucb": jb.ucb, "lcb": jb.lcb, "oto": jb.oto}[policy]
    ours = cases.rollouts(
        maker(confidence=setting.package(), **options), environment, count, total, horizon
    )
    words = cases.words(runs, horizon)
    tabled = np.stack(
        [
            jax.vmap(jax.vmap(environment.reward, (None, None, 0)), (None, None, 0))(
                environment.params, jnp.int32(arm), words
            )
            for arm in range(4)
        ]
    ).astype(float)

    def reward(t, arm):
        return tabled[arm, np.arange(runs), t - 1]

    theirs = oracle.play(reward, count, total, horizon, policy, setting.oracle(), **options)
    return ours, theirs


@in_float64
@pytest.mark.parametrize("policy", ["ucb", "oto"])
def test_normal_rewards_decide_as_the_oracle(policy):
    options = {"alpha": 0.3} if policy == "oto" else {}
    pair = gaussian_pair(300, Setting("paper", 0.01), policy, **options)
    # Normal numbers are float32 in both precisions, so their last bits depend on the program.
    assert_agree(*pair, policy=policy, tolerance=1e-4)


# Decisions in float32: all the same but where a budget rounds to the other side of zero.


@pytest.mark.float32
@pytest.mark.parametrize("setting", settings()[:2], ids=name_of)
def test_float32_decides_as_the_oracle_but_for_rounding(setting):
    for which in (1, 2):
        for policy in ("ucb", "lcb", "oto"):
            options = {"alpha": ALPHA[setting.anytime]} if policy == "oto" else {}
            ours, theirs = both(synthetic(which, RUNS), HORIZON, setting, policy, **options)
            assert np.mean(ours.arm != theirs.arm) < 0.05


@pytest.mark.float32
@pytest.mark.slow
@pytest.mark.parametrize("which", [1, 2])
@pytest.mark.parametrize("setting", settings(), ids=name_of)
@pytest.mark.parametrize("budget", BUDGETS)
def test_float32_changes_no_conclusion(budget, setting, which):
    instance = synthetic(which, 1000, seed=2)
    ours, theirs = both(instance, HORIZON, setting, alpha=ALPHA[setting.anytime], budget=budget)
    first = np.argmax(ours.arm != theirs.arm, axis=1)
    differ = np.any(ours.arm != theirs.arm, axis=1)
    # They part at a budget near zero or, seldom, at two bounds that nearly tie.
    parting = theirs.budget[differ, first[differ]]
    assert np.sum(np.abs(parting) > 1e-2) < 0.03 * len(differ), parting
    gap = instance.mean.max() - instance.mean
    difference = gap[ours.arm].sum(axis=1) - gap[theirs.arm].sum(axis=1)
    sem = difference.std(ddof=1) / np.sqrt(len(difference))
    print(
        f"share {np.mean(ours.arm != theirs.arm):.4f}, runs {differ.mean():.3f}, "
        f"regret {difference.mean():.3f} +- {sem:.3f}"
    )
    assert abs(difference.mean()) <= 4 * sem


# Limits.


def large_alpha(instance, setting):
    """Above where alpha b > max LCB(0) - floor; twice, as the late proxy takes up to alpha b."""
    delta = setting.delta or 1 / HORIZON**2
    b = setting.oracle().budget_per_round(delta, instance.count)
    return 2.5 / b


@pytest.mark.parametrize("setting", settings(), ids=name_of)
def test_oto_of_large_alpha_is_ucb(setting):
    for which in (1, 2):
        instance = synthetic(which, RUNS)
        environment = jb.bernoulli_arms(instance.mean)
        data = (environment, instance.count, instance.total, HORIZON)
        oto = cases.rollouts(jb.oto(large_alpha(instance, setting), setting.package()), *data)
        ucb = cases.rollouts(jb.ucb(setting.package()), *data)
        np.testing.assert_array_equal(oto.arm, ucb.arm)
        assert np.all(oto.info["lcb_rounds"] == 0)


@pytest.mark.parametrize("setting", settings(), ids=name_of)
def test_oto_of_alpha_zero_is_lcb_where_an_arm_has_no_data(setting):
    for which in (1, 2):
        instance = synthetic(which, RUNS)
        data = (jb.bernoulli_arms(instance.mean), instance.count, instance.total, HORIZON)
        oto = cases.rollouts(jb.oto(0.0, setting.package()), *data)
        lcb = cases.rollouts(jb.lcb(setting.package()), *data)
        np.testing.assert_array_equal(oto.arm, lcb.arm)


def test_oto_of_alpha_zero_and_a_unified_budget_is_not_lcb_even_there():
    instance = synthetic(1, RUNS)
    data = (jb.bernoulli_arms(instance.mean), instance.count, instance.total, HORIZON)
    lcb = cases.rollouts(jb.lcb(), *data)
    differ = {
        budget: np.mean(np.any(cases.rollouts(jb.oto(0.0, budget=budget), *data).arm != lcb.arm, 1))
        for budget in BUDGETS
    }
    assert differ["separate"] == differ["unified-moving"] == 0
    assert differ["unified"] > 0.9


def test_oto_of_alpha_zero_is_not_lcb_where_all_arms_have_data(x64):
    instance = cases.with_data([0.6, 0.5, 0.4], [100, 100, 100], 200, seed=3)
    ours, theirs = both(instance, 1000, Setting(), alpha=0.0)
    if x64:
        assert_agree(ours, theirs, "oto")
    lcb = both(instance, 1000, Setting(), "lcb")[0]
    assert np.mean(np.any(ours.arm != lcb.arm, axis=1)) > 0.9
