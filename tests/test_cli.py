"""The command line as a user meets it: a process, its exit status and what it prints."""

import csv
import json
import subprocess
import sys

import pytest

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
def jaxbandit(root_directory, environment):
    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "jaxbandit", *map(str, arguments)],
            cwd=root_directory,
            env=environment | {"PYTHONWARNINGS": "default"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return call


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
    "arguments", [("reproduce", "hieropo-fig9"), ("reproduce", "--no-such"), ("dance",), ()]
)
def test_bad_usage(jaxbandit, arguments):
    done = jaxbandit(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout


def fails(done, *words):
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("jaxbandit: ")
    for word in words:
        assert word in done.stderr


def test_no_runs(jaxbandit, tmp_path):
    done = jaxbandit("reproduce", "hieropo-fig2", "--runs", 0, "--out", tmp_path)
    fails(done, "runs must be a whole number of at least 1, was 0")


def test_movielens_is_not_there(jaxbandit, tmp_path):
    missing = tmp_path / "nowhere"
    fails(
        jaxbandit(
            "reproduce", "hieropo-fig3", "--movielens", missing, "--out", tmp_path, "--quiet"
        ),
        str(missing),
    )


def test_out_cannot_be_written(jaxbandit, tmp_path):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "results"
    fails(jaxbandit("reproduce", "hieropo-fig2", "--runs", 1, "--out", out), str(tmp_path / "file"))


def test_info(jaxbandit):
    done = jaxbandit("info")
    assert done.returncode == 0
    assert "jaxlib: " in done.stdout
    assert "devices: " in done.stdout
