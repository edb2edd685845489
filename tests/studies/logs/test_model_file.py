"""Models of a log: fitted, updated, scored, saved and read again."""

import json
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
from rich.console import Console

from jaxbandit.checks import InputError
from jaxbandit.datasets.log_file import LogFile
from jaxbandit.inference.posterior import new_task_posterior, task_posteriors
from jaxbandit.studies.logs.fit import fit_log, gather, update_model
from jaxbandit.studies.logs.model_file import LogColumns, LogModel, load_model, save_model
from jaxbandit.studies.logs.score import score_candidates
from tests import oracle
from tests.messages import assert_refused

COLUMNS = LogColumns("user", ("f1", "f2"), "r", "action")
SAVED = Path(__file__).with_name("model-1.npz")
"""A model as the first version of the format wrote it: fitted to `log_table(60)`."""


def log_table(records=600, seed=0, users=30):
    rng = np.random.default_rng(seed)
    theta = np.array([1.0, -0.5, 0.4, -0.2]) + 0.5 * np.random.default_rng(9).normal(size=(99, 4))
    user, action = rng.integers(0, users, records), rng.integers(0, 2, records)
    x = rng.normal(size=(records, 2))
    reward = np.sum(x * theta[user, :2], axis=1) + theta[user, 2 + action]
    return pl.DataFrame(
        {
            "user": [f"u{number}" for number in user],
            "f1": x[:, 0],
            "f2": x[:, 1],
            "action": np.array(["hide", "show"])[action],
            "r": reward + 0.3 * rng.normal(size=records),
        }
    )


def fit(table, directory, columns=COLUMNS, **options):
    log, out = directory / "log.csv", directory / "model.npz"
    table.write_csv(log)
    defaults = {
        "covariance": "diagonal",
        "hyper": "diffuse",
        "held_out": 0.0,
        "restarts": 0,
        "seed": 0,
        "drop_missing": False,
        "console": Console(quiet=True),
    }
    fit_log(log, columns, out, **defaults | options)
    return out


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> Path:
    return fit(log_table(), tmp_path_factory.mktemp("fitted"), held_out=0.2)


def vectors(table):
    hot = (table["action"].to_numpy()[:, None] == ["hide", "show"]).astype(float)
    return np.column_stack([table.select("f1", "f2").to_numpy(), hot])


def test_sums_are_those_of_the_records(fitted):
    learned, table = load_model(fitted), log_table()
    assert learned.columns.feature_names == ("f1", "f2", "action=hide", "action=show")
    assert learned.task_names == table["user"].unique(maintain_order=True).to_list()
    task = [learned.task_names.index(name) for name in table["user"]]
    log = list(zip(task, vectors(table), table["r"], strict=True))
    for ours, theirs in zip(learned.stats, oracle.task_sums(log, 30), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_held_out_records_are_judged(fitted):
    held_out = load_model(fitted).facts["held_out"]
    own, pooled = held_out["each task's posterior"], held_out["one for all tasks"]
    assert own["rmse"] < 0.7 * pooled["rmse"]
    assert own["log_density"] > pooled["log_density"] + 0.3
    # About 120 records: 90 % +- 3 standard errors.
    assert 0.8 < own["coverage"][1] < 0.99


def posteriors(learned: LogModel, model=None):
    with jax.enable_x64(True):
        gaussian = task_posteriors(model or learned.model, learned.stats)
    return {name: (gaussian.mean[k], gaussian.cov[k]) for k, name in enumerate(learned.task_names)}


def test_updated_equals_fitted_to_all(fitted, tmp_path):
    more = log_table(500, seed=1, users=40)
    more.write_parquet(tmp_path / "more.parquet")
    out = tmp_path / "updated.npz"
    console = Console(quiet=True)
    update_model(fitted, tmp_path / "more.parquet", out, drop_missing=False, console=console)
    updated = load_model(out)
    pl.concat([log_table(), more]).write_csv(tmp_path / "all.csv")
    with jax.enable_x64(True):
        columns = load_model(fitted).columns
        everything = gather(LogFile(tmp_path / "all.csv"), columns, [], drop_missing=False)
    assert updated.task_names == everything.task_names
    for ours, theirs in zip(updated.stats, everything.stats, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13, atol=1e-12)
    whole = updated._replace(stats=everything.stats)
    for ours, theirs in zip(posteriors(updated).values(), posteriors(whole).values(), strict=True):
        np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-10)
        np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-10, atol=1e-14)


def test_scores_are_those_of_the_posteriors(fitted, tmp_path):
    # Few tasks with many candidates each, so that a mean and a bound choose differently.
    candidates = pl.concat([log_table(60, seed=2, users=5), log_table(4, seed=3, users=90)])
    candidates = candidates.with_columns(page=pl.Series([0, 1] * 32))
    candidates.write_csv(tmp_path / "candidates.csv")
    out = tmp_path / "scores.csv"
    options = {"context": "page", "alpha": 30.0, "drop_missing": False}
    score_candidates(
        fitted, tmp_path / "candidates.csv", out, **options, console=Console(quiet=True)
    )
    scores = pl.read_csv(out)
    learned = load_model(fitted)
    known = posteriors(learned)
    with jax.enable_x64(True):
        new = new_task_posterior(learned.model, learned.stats)
    best = {}
    for row, x in zip(scores.iter_rows(named=True), vectors(candidates), strict=True):
        mean, cov = known.get(row["user"], new)
        lower = oracle.lower_confidence_bound(np.asarray(mean), np.asarray(cov), x, 30.0)
        np.testing.assert_allclose(row["mean"], x @ np.asarray(mean), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(row["lower"], lower, rtol=1e-8, atol=1e-9)
        assert row["known"] == (row["user"] in known)
        group = row["user"], row["page"]
        if group not in best or lower > best[group][0]:
            best[group] = lower, row["record"]
    assert not scores["known"].all()
    chosen = {
        (row["user"], row["page"]): row["record"] for row in scores.filter("chosen").to_dicts()
    }
    assert chosen == {group: record for group, (_, record) in best.items()}


def test_a_number_names_the_same_task_however_it_is_written(tmp_path):
    table = log_table().with_columns(user=pl.int_range(pl.len()) % 5)
    model = fit(table, tmp_path)
    assert load_model(model).task_names == ["0", "1", "2", "3", "4"]
    table.with_columns(pl.col("user").cast(pl.Float64)).write_csv(tmp_path / "floats.csv")
    options = {"drop_missing": False, "console": Console(quiet=True)}
    update_model(model, tmp_path / "floats.csv", model, **options)
    updated = load_model(model)
    assert updated.task_names == ["0", "1", "2", "3", "4"]
    assert updated.stats.count.tolist() == [240] * 5


def test_missing_values_are_counted(tmp_path):
    table = log_table().with_columns(
        f1=pl.when(pl.int_range(pl.len()) % 10 == 0).then(None).otherwise("f1")
    )
    learned = load_model(fit(table, tmp_path, drop_missing=True))
    assert learned.facts["dropped"] == 60
    assert np.sum(learned.stats.count) == 540
    assert_refused(lambda: fit(table, tmp_path), "line 2: column 'f1' is missing")


def test_a_model_of_the_first_format_is_read(tmp_path):
    old = load_model(SAVED)
    new = load_model(fit(log_table(60), tmp_path))
    assert old.columns == new.columns
    assert old.task_names == new.task_names
    for ours, theirs in zip(old.stats, new.stats, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(old.model.noise_std, new.model.noise_std, rtol=1e-3)


def test_any_changed_number_is_noticed(tmp_path):
    with np.load(SAVED) as archive:
        arrays = dict(archive)
    for name in arrays:
        if arrays[name].dtype.kind not in "fi":
            continue
        changed = arrays | {name: np.nextafter(arrays[name], 9e9).astype(arrays[name].dtype) + 1}
        np.savez(tmp_path / "changed.npz", **changed)
        assert_refused(lambda: load_model(tmp_path / "changed.npz"), "damaged.*fit it again")


def test_files_that_are_no_models(tmp_path):
    content = SAVED.read_bytes()
    for name, data, message in (
        ("cut", content[: len(content) // 2], "damaged.*fit it again"),
        (
            "flipped",
            content[:700] + bytes([content[700] ^ 1]) + content[701:],
            "damaged.*fit it again",
        ),
        ("text", b"user,f1\n", "not a model of jaxbandit; make one with jaxbandit fit"),
        ("empty", b"", "not a model of jaxbandit; make one with jaxbandit fit"),
    ):
        path = tmp_path / f"{name}.npz"
        path.write_bytes(data)
        assert_refused(lambda path=path: load_model(path), f"{name}.npz: .*{message}")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    assert_refused(lambda: load_model(tmp_path / "other.npz"), "not a model of jaxbandit")


def test_a_newer_format_asks_for_a_newer_version(tmp_path):
    with np.load(SAVED) as archive:
        arrays = dict(archive)
    header = json.loads(str(arrays["header"])) | {"schema": 2, "jaxbandit": "9.9"}
    np.savez(tmp_path / "newer.npz", **arrays | {"header": np.array(json.dumps(header))})
    assert_refused(
        lambda: load_model(tmp_path / "newer.npz"), "format 2, written by jaxbandit 9.9.*newer"
    )


def test_nothing_needs_pickle(fitted):
    learned = load_model(fitted)
    save_model(learned, fitted)
    with np.load(fitted, allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)


def bad_fit(tmp_path, table=None, columns=COLUMNS, **options):
    return lambda: fit(log_table() if table is None else table, tmp_path, columns, **options)


def test_logs_and_options_that_are_refused(tmp_path, fitted):
    def columns(**changes):
        return LogColumns(**{"task": "user", "features": ("f1",), "reward": "r"} | changes)

    table = log_table()
    console = Console(quiet=True)
    for call, message in (
        (bad_fit(tmp_path, columns=columns(features=("f1", "f1"))), "'f1' is named twice"),
        (bad_fit(tmp_path, columns=columns(features=("f1", "r"))), "'r' is named twice"),
        (bad_fit(tmp_path, columns=columns(reward="y")), "reward: .* no column 'y'"),
        (bad_fit(tmp_path, columns=columns(features=())), "features: name at least one"),
        (bad_fit(tmp_path, columns=columns(features=("action",))), "must be a number, was '"),
        (bad_fit(tmp_path, held_out=1.0), r"held_out must lie in \[0, 1\)"),
        (
            bad_fit(tmp_path, table.with_columns(f2=pl.col("f1") * 2)),
            "feature 'f2' is always zero or a linear combination",
        ),
        (bad_fit(tmp_path, table.with_columns(f1=0.0)), "feature 'f1' is always zero"),
        (bad_fit(tmp_path, table.with_columns(r=1.0)), "rewards are constant"),
        (bad_fit(tmp_path, table.with_columns(user=pl.lit("me"))), "two tasks, have 1"),
        (
            bad_fit(tmp_path, table.unique("user", maintain_order=True)),
            "cannot tell noise_std from task_cov",
        ),
    ):
        assert_refused(call, message)
    table.with_columns(action=pl.lit("shout")).write_csv(tmp_path / "new.csv")
    assert_refused(
        lambda: update_model(
            fitted, tmp_path / "new.csv", fitted, drop_missing=False, console=console
        ),
        "line 2: column 'action' holds 'shout', which the model does not know; it knows hide, show",
    )


def test_nothing_is_written_over_what_is_read(tmp_path, fitted):
    quiet = Console(quiet=True)
    log = tmp_path / "log.csv"
    log_table().with_columns(mean=pl.lit("a"), record=pl.lit("b")).write_csv(log)
    kept = log.read_bytes()

    def score(out, **changes):
        options = {"context": None, "alpha": 0.1, "drop_missing": False, "console": quiet}
        return lambda: score_candidates(fitted, log, out, **options | changes)

    over = "--out would write over .*log.csv, which is read; name another file"
    assert_refused(score(log), over)
    assert_refused(lambda: update_model(fitted, log, log, drop_missing=False, console=quiet), over)
    other = tmp_path / "scores.csv"
    assert_refused(score(other, context="mean"), "column 'mean' is one that scores are written to")
    assert_refused(score(other, context="record"), "column 'record' is one that scores are")
    assert log.read_bytes() == kept
    columns = LogColumns("user", ("f1",), "r")
    options = {"covariance": "diagonal", "hyper": "diffuse", "held_out": 0.0, "restarts": 0}
    options |= {"seed": 0, "drop_missing": False, "console": quiet}
    assert_refused(lambda: fit_log(log, columns, log, **options), over)
    assert log.read_bytes() == kept


def test_the_command_line(jaxbandit, tmp_path):
    log, model, scores = tmp_path / "log.parquet", tmp_path / "m.npz", tmp_path / "scores.parquet"
    log_table().write_parquet(log)
    columns = ("--task", "user", "--features", "f1", "f2", "--one-hot", "action", "--reward", "r")
    done = jaxbandit("fit", log, *columns, "--covariance", "diagonal", "--out", model)
    assert (done.returncode, done.stderr) == (0, "")
    assert "read 600 records of 30 tasks" in done.stdout
    assert "converged after" in done.stdout
    done = jaxbandit("score", model, log, "--out", scores, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert pl.read_parquet(scores)["chosen"].sum() == 30
    done = jaxbandit("score", log, log, "--out", scores)
    assert done.returncode == 1
    assert done.stderr.startswith("jaxbandit: ")
    assert "not a model of jaxbandit" in done.stderr
    assert jaxbandit("fit", log, "--reward", "r").returncode == 2


@pytest.mark.parametrize("span", [3600, 86400, 604800, 2592000])
def test_a_time_beside_a_constant_is_fitted_rightly_or_refused(span, tmp_path):
    """Fails where either threshold of `fit_log` lets a span through that does not converge."""
    rng = np.random.default_rng(1)
    user, u = rng.integers(0, 100, 4000), rng.random(4000)
    theta = rng.normal([1.0, 2.0], [0.5, 0.3], (100, 2))
    y = theta[user, 0] + theta[user, 1] * (u - 0.5) + rng.normal(0, 0.5, 4000)
    times = {"time": 1.7e9 + u * span, "share": u - 0.5}
    pl.DataFrame({"user": user, "constant": np.ones(4000), "y": y} | times).write_csv(
        tmp_path / "log.csv"
    )

    def noise_of(column: str) -> float:
        columns = LogColumns("user", ("constant", column), "y", None)
        out, console = tmp_path / f"{column}.npz", Console(quiet=True)
        how = {"covariance": "full", "hyper": "diffuse", "held_out": 0.0, "restarts": 0, "seed": 0}
        fit_log(tmp_path / "log.csv", columns, out, **how, drop_missing=False, console=console)
        facts = load_model(out).facts["fit"]
        assert facts["converged"]
        return float(load_model(out).model.noise_std)

    wanted = noise_of("share")
    try:
        found = noise_of("time")
    except InputError as error:
        message = str(error)
        assert "feature 'time'" in message
        assert "subtract its mean" in message
    else:
        assert span > 86400
        np.testing.assert_allclose(found, wanted, rtol=1e-3)
