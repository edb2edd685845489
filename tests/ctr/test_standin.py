"""All models on the stand-in, at the sizes of the paper."""

import csv
import resource
import time

import jax
import numpy as np
import pytest

from jaxbandit.ctr.deployment import BASELINES, PAPER_MODELS, deploy
from jaxbandit.ctr.models import MODELS, build
from jaxbandit.ctr.training import cross_entropy, predict, train
from jaxbandit.datasets.avazu_like import avazu_like
from jaxbandit.datasets.click_log import click_log
from tests.ctr.standin import standin


@pytest.mark.slow  # Five models on 30,000 rows.
@pytest.mark.parametrize("name", MODELS)
def test_an_epoch_on_the_standin(name):
    """Beats the constant rate, approaches the planted model, and takes seconds."""
    shape, features, learnt, others, held = standin(30_000, 30_000)
    model = build(name, shape)
    trained = train(model, features, learnt.click)
    # Of the processor, which others on the machine do not lengthen.
    start = time.process_time()
    jax.block_until_ready(train(model, features, learnt.click))
    assert time.process_time() - start < 5
    constant = cross_entropy(held.click, np.full(len(held.click), learnt.click.mean())).mean
    planted = cross_entropy(held.click, held.probability).mean
    found = cross_entropy(held.click, predict(trained, others)).mean
    assert planted < found < constant - 0.3 * (constant - planted)


@pytest.mark.slow  # All ten models are compiled, twice in part.
def test_the_real_models_deploy_and_are_deterministic():
    log = click_log(avazu_like(20_000, seed=8).table)
    first, again = deploy(log, seed=1), deploy(log, seed=1)
    np.testing.assert_array_equal(first.rewards, again.rewards)
    constant = first.references["click rate of Dataset 1"]["test set 1"].mean
    assert [one.spec for one in first.trained] == [*PAPER_MODELS, *BASELINES]
    for one in first.trained:
        if one.spec.dataset == 1:
            assert one.losses["test set 1"].mean < constant


@pytest.mark.slow  # The whole experiment: eight models, both settings, both horizons, 200 runs.
def test_the_whole_standin_experiment(jaxbandit, tmp_path):
    figures = ("oto-fig5", "oto-fig6", "oto-fig9", "oto-fig10", "oto-table3")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = jaxbandit("reproduce", *figures, "--synthetic", "--out", tmp_path, timeout=1800)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 180
    for figure in figures:
        assert (tmp_path / f"{figure}.png").read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "oto-fig5.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 8 * 200
    assert {row["horizon"] for row in rows} == {"3000", "300000"}
    assert {row["source"] for row in rows} == {"synthetic data"}
