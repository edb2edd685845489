"""Fitting a hierarchy, against statsmodels and from a large file: `python -m benchmarks.fit`."""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import polars as pl

import jaxbandit as jb
from benchmarks.timing import fastest, machine

RECORDS, TASKS, FEATURES = 10_000_000, 100_000, 10


def random_coefficients(tasks: int, records: int, features: int) -> tuple[np.ndarray, ...]:
    """Task, feature and reward of each record; feature 0 is constant."""
    rng = np.random.default_rng(0)
    theta = rng.normal(size=features) + rng.normal(size=(tasks, features)) * 0.5
    task = np.repeat(np.arange(tasks, dtype=np.int32), records)
    feature = rng.normal(size=(len(task), features))
    feature[:, 0] = 1
    reward = np.sum(feature * theta[task], axis=1) + 0.5 * rng.normal(size=len(task))
    return task, feature, reward


def against_statsmodels(tasks: int = 1000, records: int = 8, features: int = 3) -> None:
    """Restricted maximum likelihood of a random-coefficient model, from the records, one run."""
    from statsmodels.regression.mixed_linear_model import MixedLM

    task, feature, reward = random_coefficients(tasks, records, features)

    def ours() -> jb.FittedHierarchy:
        log = jb.BanditLog(task, feature, reward)
        return jb.fit_hierarchy(jb.task_statistics(log, tasks=tasks))

    started = time.perf_counter()
    fit = ours()
    first = time.perf_counter() - started
    seconds = fastest({"": lambda: ours().task_cov}, repeats=3)[""]
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its optimiser, on the way
        theirs = MixedLM(reward, feature, groups=task, exog_re=feature).fit(reml=True)
    peer = time.perf_counter() - started
    assert fit.report is not None
    print(f"\nfit of {tasks:,} tasks with {records} records each, d = {features}")
    print(
        f"  jaxbandit {seconds:8.3f} s (first call, which compiles: {first:.1f} s), "
        f"log-likelihood {fit.report.log_likelihood:.5f}\n"
        f"  MixedLM   {peer:8.3f} s, log-likelihood {theirs.llf:.5f}\n"
        f"  jaxbandit is {peer / seconds:.0f} times faster"
    )


def from_parquet() -> None:
    """`jaxbandit fit` on 10 million records of 100,000 tasks with 10 features, as a process."""
    with tempfile.TemporaryDirectory() as directory:
        log, model = Path(directory, "log.parquet"), Path(directory, "model.npz")
        task, feature, reward = random_coefficients(TASKS, RECORDS // TASKS, FEATURES)
        order = np.random.default_rng(1).permutation(len(task))
        names = [f"f{k}" for k in range(FEATURES)]
        columns = {"user": task[order], "reward": reward[order]}
        columns |= {name: feature[order, k] for k, name in enumerate(names)}
        pl.DataFrame(columns).write_parquet(log)
        del task, feature, reward, order, columns
        command = [sys.executable, "-m", "jaxbandit", "fit", str(log), "--task", "user"]
        command += ["--features", *names, "--reward", "reward", "--out", str(model)]
        print(f"\njaxbandit fit: {RECORDS:,} records, {TASKS:,} tasks, d = {FEATURES}", flush=True)
        started = time.perf_counter()
        subprocess.run(command, check=True)
        took = time.perf_counter() - started
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        peak, work = used.ru_maxrss * 1024 / 1e9, used.ru_utime + used.ru_stime
        print(f"  {took:.1f} s as a process ({work:.1f} s of cores), {peak:.2f} GB at its peak")


if __name__ == "__main__":
    machine("statsmodels", "polars")
    from_parquet()
    against_statsmodels()
