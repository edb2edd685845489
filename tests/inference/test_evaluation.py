"""Values of policies and scores of predictions, against loops and simulations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats as scipy_stats

import jaxbandit as jb
from jaxbandit.datasets.obp_feedback import from_obp, obp_action_dist, to_obp
from jaxbandit.inference.evaluation import _student_width
from tests.messages import assert_refused

MEAN = np.array([0.2, 0.5, 0.9])
LOGGING = np.array([0.5, 0.3, 0.2])
POLICY = np.array([0.1, 0.2, 0.7])


def feedback(n=300, seed=0):
    rng = np.random.default_rng(seed)
    action = rng.choice(3, n, p=LOGGING)
    reward = (rng.random(n) < MEAN[action]).astype(float)
    predicted = np.array([0.3, 0.3, 0.7])
    return {
        "reward": reward,
        "propensity": LOGGING[action],
        "target": POLICY[action],
        "predicted": predicted[action],
        "predicted_target": np.full(n, predicted @ POLICY),
    }


def value_of(estimator, table, **more):
    names = ("reward", "propensity", "target")
    if estimator is jb.doubly_robust_value:
        names = (*names, "predicted", "predicted_target")
    return estimator(**{name: table[name] for name in names}, **more)


def by_loop(estimator, table):
    """Value and the terms whose mean's error it has."""
    n = len(table["reward"])
    rows = [{name: column[i] for name, column in table.items()} for i in range(n)]
    weight = [row["target"] / row["propensity"] for row in rows]
    if estimator is jb.doubly_robust_value:
        terms = [
            row["predicted_target"] + w * (row["reward"] - row["predicted"])
            for row, w in zip(rows, weight, strict=True)
        ]
        return sum(terms) / n, terms
    terms = [w * row["reward"] for row, w in zip(rows, weight, strict=True)]
    if estimator is jb.ips_value:
        return sum(terms) / n, terms
    value = sum(terms) / sum(weight)
    mean_weight = sum(weight) / n
    return value, [
        value + w * (row["reward"] - value) / mean_weight
        for row, w in zip(rows, weight, strict=True)
    ]


ESTIMATORS = [jb.ips_value, jb.snips_value, jb.doubly_robust_value]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_values_are_those_of_a_loop(estimator, rtol):
    table = feedback()
    ours = value_of(estimator, table, level=0.9)
    value, terms = by_loop(estimator, table)
    weight = table["target"] / table["propensity"]
    records = weight.sum() ** 2 / (weight**2).sum()
    width = scipy_stats.t.ppf(0.95, records - 1)
    for mean, error, low, high, own in (
        (*ours[:4], np.array(terms)),
        (*ours[4:8], np.array(terms) - table["reward"]),
    ):
        expected = np.std(own, ddof=1) / np.sqrt(len(own))
        np.testing.assert_allclose(error, expected, rtol=rtol)
        np.testing.assert_allclose(
            [low, high], np.mean(own) + np.array([-1, 1]) * width * expected, rtol=rtol
        )
        np.testing.assert_allclose(mean, np.mean(own), rtol=rtol)
    np.testing.assert_allclose(ours.value, value, rtol=rtol / 10)
    np.testing.assert_allclose(ours.effective_sample_size, records, rtol=rtol / 10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_intervals_cover_the_value(estimator):
    runs = 400
    tables = [feedback(seed=[1, run]) for run in range(runs)]
    stacked = {name: np.stack([table[name] for table in tables]) for name in tables[0]}
    found = jax.vmap(lambda table: value_of(estimator, table))(stacked)
    for low, high, truth in (
        (found.low, found.high, MEAN @ POLICY),
        (found.gain_low, found.gain_high, MEAN @ POLICY - MEAN @ LOGGING),
    ):
        covered = np.mean((np.asarray(low) <= truth) & (truth <= np.asarray(high)))
        # 95 % of 400 within four standard errors, and a little for skewness.
        assert 0.90 < covered < 0.99
    off = np.mean(found.value) - MEAN @ POLICY
    assert abs(off) < 4 * np.std(found.value) / np.sqrt(runs)


def test_few_records_among_many_are_as_few():
    """Of 60 records the policy takes the action of 3 to 10: intervals are those of 3 to 10."""
    runs, rng = 2000, np.random.default_rng(0)
    reward, matched = rng.standard_normal((runs, 60)), rng.integers(3, 11, runs)[:, None]
    table = {
        "reward": 1 + reward,
        "propensity": np.full((runs, 60), 0.1),
        "target": (np.arange(60) < matched).astype(float),
    }
    found = jax.vmap(lambda table: jb.snips_value(**table))(table)
    covered = np.mean((np.asarray(found.low) <= 1) & (np.asarray(found.high) >= 1))
    # A little short: the error's own bias, by the delta method, is that of a spread without ddof.
    assert 0.92 < covered < 0.96


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("matched", [0, 1])
def test_one_record_or_none_has_no_interval(estimator, matched):
    table = feedback(20) | {"target": (np.arange(20) < matched).astype(float)}
    found = value_of(estimator, table)
    assert np.all(np.isnan([found.low, found.high, found.gain_low, found.gain_high]))


@pytest.mark.parametrize("level", [0.1, 0.5, 0.95, 0.999])
def test_widths_are_those_of_students_distribution(level, x64, rtol):
    freedom = np.array([0.5, 1, 1.7, 2, 3, 5, 9, 15, 29.9, 30.1, 31, 50, 200, 1e4, 1e7])
    width = jax.jit(_student_width)(jnp.asarray(level, float), jnp.asarray(freedom, float))
    expected = scipy_stats.t.ppf(0.5 + 0.5 * level, freedom)
    np.testing.assert_allclose(width, expected, rtol=2e-6 if x64 else 5e-5)
    slope = jax.vmap(jax.grad(_student_width), (None, 0))(
        jnp.asarray(level, float), jnp.asarray(freedom, float)
    )
    np.testing.assert_allclose(slope, 0.5 / scipy_stats.t.pdf(expected, freedom), rtol=2e-3)


def test_predictions_and_their_scores(rtol):
    rng = np.random.default_rng(0)
    cov = np.array([np.diag([0.5, 0.2]), np.diag([0.1, 0.4])])
    gaussian = jb.Gaussian(jnp.asarray(rng.normal(size=(2, 2))), jnp.asarray(cov))
    task, feature = rng.integers(0, 2, 50), rng.normal(size=(50, 2))
    reward = rng.normal(size=50)
    prediction = jb.predict(gaussian, jb.BanditLog(task, feature, None), 0.3)
    score = jb.score_held_out(prediction, reward, [0.5, 0.8])
    mean = np.array([x @ np.asarray(gaussian.mean)[s] for s, x in zip(task, feature, strict=True)])
    std = np.sqrt([x @ cov[s] @ x + 0.09 for s, x in zip(task, feature, strict=True)])
    np.testing.assert_allclose(prediction.mean, mean, rtol=rtol, atol=rtol / 100)
    np.testing.assert_allclose(prediction.std, std, rtol=rtol / 10)
    np.testing.assert_allclose(score.rmse, np.sqrt(np.mean((reward - mean) ** 2)), rtol=rtol / 10)
    normal = scipy_stats.norm(mean, std)
    np.testing.assert_allclose(score.log_density, np.mean(normal.logpdf(reward)), rtol=rtol / 10)
    for level, covered in zip([0.5, 0.8], score.coverage, strict=True):
        low, high = normal.interval(level)
        assert float(covered) == pytest.approx(np.mean((low <= reward) & (reward <= high)))


def obp_dictionary():
    rng = np.random.default_rng(0)
    return {
        "n_rounds": 6,
        "n_actions": 3,
        "context": rng.normal(size=(6, 2)),
        "action_context": rng.normal(size=(3, 4)),
        "action": np.array([0, 2, 1, 1, 0, 2]),
        "position": np.zeros(6, int),
        "reward": rng.normal(size=6),
        "pscore": np.full(6, 1 / 3),
        "expected_reward": None,
    }


def test_obp_there_and_back():
    source = obp_dictionary()
    given = from_obp(source)
    back = to_obp(given)
    assert set(back) == set(source) - {"expected_reward"}
    for name, value in back.items():
        np.testing.assert_array_equal(value, source[name])
    feature = given.features()
    assert feature.shape == (6, 3, 8)
    np.testing.assert_array_equal(
        feature[4, 1], np.outer(source["context"][4], source["action_context"][1]).ravel()
    )
    bare = from_obp(source | {"action_context": None, "position": None})
    np.testing.assert_array_equal(bare.action_context, np.eye(3))
    dist = obp_action_dist(np.array([2, 0]), 3)
    assert dist.tolist() == [[[0], [0], [1]], [[1], [0], [0]]]


def ips(**changes):
    table = {"reward": [0.0, 1.0], "propensity": [0.5, 0.5], "target": [1.0, 0.0]}
    return lambda: jb.ips_value(**table | changes)


def prediction(**changes):
    """Of two records, by the posteriors of three tasks."""
    posteriors = jb.Gaussian(np.zeros((3, 2)), np.stack([np.eye(2)] * 3))
    log = {"task": [0, 2], "feature": np.eye(2), "reward": None}
    return lambda: jb.predict(posteriors, jb.BanditLog(**log | changes), 1.0)


def score(reward):
    return lambda: jb.score_held_out(jb.Prediction(np.zeros(2), np.ones(2)), reward)


def obp(**changes):
    return lambda: from_obp(obp_dictionary() | changes)


BAD = {
    "no propensity": (ips(propensity=[0.5, 0.0]), r"propensity must lie in \(0, 1\], was 0.0 at"),
    "target": (ips(target=[1.5, 0.0]), r"target must lie in \[0, 1\], was 1.5 at record 0"),
    "lengths": (ips(target=[1.0]), "target must have shape"),
    "one record": (ips(reward=[1.0]), "at least two records"),
    "nan": (ips(reward=[np.nan, 1.0]), "reward must be finite"),
    "level": (ips(level=1.0), "level must lie strictly between"),
    "masked": (ips(reward=np.ma.masked_equal([0.0, 1.0], 0)), "reward has masked entries; drop"),
    "predict: task": (
        prediction(task=[0, 3]),
        r"log.task must lie in \[0, 3\), was 3 at record 1; .* posteriors says how many",
    ),
    "predict: negative task": (prediction(task=[-1, 0]), "log.task must lie in .* was -1"),
    "predict: float task": (prediction(task=[0.0, 1.0]), "log.task must be integers"),
    "predict: feature": (prediction(feature=[[1, 0], [np.nan, 0]]), "log.feature must be finite"),
    "predict: masked": (
        prediction(feature=np.ma.masked_equal(np.eye(2), 0)),
        "log.feature has masked entries",
    ),
    "predict: one feature": (prediction(feature=np.ones(2)), "log.feature must have shape"),
    "score: nan": (score([0.0, np.nan]), "reward must be finite"),
    "score: masked": (score(np.ma.masked_equal([0.0, 1.0], 0)), "reward has masked entries"),
    "obp: missing": (obp(pscore=None), "feedback must have 'pscore'"),
    "obp: action": (obp(action=np.full(6, 3)), r"feedback\['action'\] must lie below n_actions"),
    "obp: pscore": (obp(pscore=np.zeros(6)), r"feedback\['pscore'\] must lie in \(0, 1\]"),
    "obp: shape": (obp(reward=np.zeros(5)), r"feedback\['reward'\] must have shape"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name):
    assert_refused(*BAD[name])
