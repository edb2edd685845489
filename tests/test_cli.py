"""The command line as a user meets it: a process, its exit status and what it prints."""

import csv
import gzip
import json

import pytest

from jaxbandit.datasets.avazu_like import avazu_like

FIGURE2 = [
    "panel",
    "hyper_std",
    "tasks",
    "records",
    "policy",
    "suboptimality_mean",
    "suboptimality_sem",
    "runs",
]


@pytest.fixture(scope="module")
def figure2(jaxbandit, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "made" / "here"
    return jaxbandit(
        "reproduce", "hieropo-fig2", "--runs", 2, "--seed", 5, "--out", out, "--quiet"
    ), out


def test_quiet_prints_nothing(figure2):
    done, _ = figure2
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_table(figure2):
    _, out = figure2
    with open(out / "hieropo-fig2.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == FIGURE2
    assert {row["policy"] for row in rows} == {"HierOPO", "FlatOPO", "OracleOPO"}
    assert {row["panel"] for row in rows} == {"left", "middle", "right"}
    assert len(rows) == 3 * (10 + 10 + 6)
    for row in rows:
        assert row["runs"] == "2"
        assert float(row["suboptimality_mean"]) > 0
        assert float(row["suboptimality_sem"]) >= 0


def test_picture_and_record(figure2):
    _, out = figure2
    assert (out / "hieropo-fig2.png").read_bytes().startswith(b"\x89PNG")
    record = json.loads((out / "hieropo-fig2.json").read_text())
    assert record["settings"]["seed"] == 5
    assert {"jax", "jaxlib", "devices", "command", "stream", "findings"} <= set(record)
    assert sorted(path.name for path in out.iterdir()) == [
        f"hieropo-fig2.{ending}" for ending in ("csv", "json", "png")
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ("reproduce", "hieropo-fig9"),
        ("reproduce", "--no-such"),
        ("bounds",),
        ("bounds", "ucb"),
        ("bounds", "oto", "--tasks", 5),
        ("bounds", "oto", "--horizons", "long"),
        ("bounds", "oto", "--family", "beta"),
        ("dance",),
        (),
    ],
)
def test_bad_usage(jaxbandit, arguments):
    done = jaxbandit(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout


def assert_fails(done, *words):
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("jaxbandit: ")
    for word in words:
        assert word in done.stderr


def test_no_runs(jaxbandit, tmp_path):
    done = jaxbandit("reproduce", "hieropo-fig2", "--runs", 0, "--out", tmp_path)
    assert_fails(done, "runs must be a whole number of at least 1, was 0")


def test_movielens_is_not_there(jaxbandit, tmp_path):
    missing = tmp_path / "nowhere"
    assert_fails(
        jaxbandit(
            "reproduce", "hieropo-fig3", "--movielens", missing, "--out", tmp_path, "--quiet"
        ),
        str(missing),
    )


def test_out_cannot_be_written(jaxbandit, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "results"
    assert_fails(
        jaxbandit("reproduce", "hieropo-fig2", "--runs", 1, "--out", out), str(tmp_path / "file")
    )


CLICK_FIGURE = ("reproduce", "oto-fig5", "--quiet")


def test_click_models_need_a_source(jaxbandit, tmp_path):
    assert_fails(jaxbandit(*CLICK_FIGURE, "--out", tmp_path), "give one of --avazu FILE")


def test_click_models_refuse_a_truncated_log(jaxbandit, tmp_path):
    path = tmp_path / "train.gz"
    path.write_bytes(gzip.compress(avazu_like(500).table.write_csv().encode())[:-1000])
    done = jaxbandit(*CLICK_FIGURE, "--avazu", path, "--out", tmp_path)
    assert_fails(done, str(path), "truncated or damaged")


def test_info(jaxbandit):
    done = jaxbandit("info")
    assert done.returncode == 0
    assert "jaxlib: " in done.stdout
    assert "devices: " in done.stdout


def test_figures_without_runs(jaxbandit, tmp_path):
    done = jaxbandit("reproduce", "oto-tables", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"oto-tables.{ending}" for ending in ("csv", "json", "md", "png")
    ]
    assert "confirmed: every lower bound is below its upper bound" in done.stdout
    with open(tmp_path / "oto-tables.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["table", "data", "horizon", "policy", "lower", "upper"]
    assert len(rows) == 2 * 3 * 3 * 2
    assert (tmp_path / "oto-tables.md").read_text().count("\n| ") == 2 * (1 + 3 * 2)


def test_bounds(jaxbandit, tmp_path):
    (tmp_path / "study.toml").write_text(
        "means = [0.3, 0.6]\ncounts = [20, 4]\nhorizons = [10]\nalphas = [1]\nruns = 7\nseed = 4"
    )
    out = tmp_path / "out"
    file = tmp_path / "study.toml"
    done = jaxbandit("bounds", "oto", "--file", file, "--horizons", 5, 200, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "every bound holds in a share 1 - delta of runs or more" in done.stdout
    with open(out / "bounds-oto.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    # Flags win over the file, the file over defaults.
    assert {row["horizon"] for row in rows} == {"5", "200"}
    assert {row["alpha"] for row in rows} == {"", "1.0"}
    assert {row["runs"] for row in rows} == {"7"}
    record = json.loads((out / "bounds-oto.json").read_text())
    assert record["settings"]["seed"] == 4
    assert sorted(path.name for path in out.iterdir()) == [
        f"bounds-oto.{ending}" for ending in ("csv", "json", "md", "png")
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("oto", "--runs", 0), "runs must be a whole number of at least 2, was 0"),
        (("oto", "--delta", 1), "delta must lie strictly between 0 and 1, was 1.0"),
        (("oto", "--counts", 1, 2), "means and counts must be of the same arms, were 20 and 2"),
        (("oto", "--means", 0.5, "--counts", 0), "count must not be all zero"),
        (("oto", "--horizons"), "horizons must have at least one value"),
        (("oto", "--horizons", 0), "horizons must be a whole number of at least 1, was 0"),
        (("oto", "--alphas", -1), "alphas must"),
        (
            ("oto", "--family", "lcb-misled", "--counts", 3),
            "family lcb-misled, horizon 200: count must have at least two arms",
        ),
        (("oto", "--means", 2, "--counts", 1), "mean"),
        (("hieropo", "--features", 5), "Assumption 1"),
        (("hieropo", "--delta", 0.5), "delta must be at most 1/e"),
        (("hieropo", "--tasks", 0), "tasks must be a whole number of at least 1"),
        (("hieropo", "--file", "no.toml"), "no.toml"),
    ],
)
def test_bounds_bad_input(jaxbandit, tmp_path, arguments, words):
    study, *rest = arguments
    assert_fails(jaxbandit("bounds", study, *rest, "--out", tmp_path, "--quiet"), words)


def test_bounds_unknown_key(jaxbandit, tmp_path):
    (tmp_path / "study.toml").write_text("horizon = [10]")
    done = jaxbandit("bounds", "oto", "--file", tmp_path / "study.toml", "--out", tmp_path)
    assert_fails(done, "no option 'horizon'; did you mean 'horizons'?")
