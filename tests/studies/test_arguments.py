"""Arguments that cannot be used: one line, which names the option and the remedy."""

import pytest

import jaxbandit
from jaxbandit import cli, extras
from jaxbandit.checks import LARGEST, check_count, check_seed
from jaxbandit.studies.report import files
from tests.messages import assert_refused

ADVISE = ("advise", "log.csv", "--arm", "ad", "--reward", "click", "--horizon")
SMALL = ("--runs", 3, "--horizons", 10)
BOUNDS = ("bounds", "oto", *SMALL)
FIT = ("fit", "log.csv", "--task", "ad", "--reward", "click", "--out")
REFUSED = {
    "advise, seed": ((*ADVISE, 9, "--seed", -1), "--seed must be a whole number of at least 0"),
    "bounds, seed": ((*BOUNDS, "--seed", -1), "--seed must be a whole number of at least 0"),
    "figure, seed": (
        ("reproduce", "oto-tables", "--seed", -1),
        "--seed must be a whole number of at least 0, was -1",
    ),
    "fit, seed": ((*FIT, "m.npz", "--seed", -1), "--seed must be a whole number of at least 0"),
    "large seed": (
        ("reproduce", "oto-tables", "--seed", 2**32),
        "--seed must be at most 4294967295",
    ),
    "advise, horizon": ((*ADVISE, 10**11), "--horizon must be at most 2147483646"),
    "bounds, horizon": (
        ("bounds", "oto", "--horizons", 10**11),
        "horizons must be at most 2147483646, was 100000000000",
    ),
    "advise, no log": (
        ("advise", "no.csv", *ADVISE[2:], 9),
        "no.csv: there is no such file; check the path",
    ),
    "advise, out": ((*ADVISE, 9, "--out", "log.csv"), "--out must be a folder, but log.csv is"),
    "bounds, out": ((*BOUNDS, "--out", "log.csv/a"), "--out must be a folder, but log.csv is"),
    "figure, out": (
        ("reproduce", "oto-tables", "--out", "log.csv"),
        "--out must be a folder, but log.csv is a file; name another",
    ),
    "bounds, file": (
        ("bounds", "oto", "--file", "no.toml"),
        "--file: there is no file no.toml; check the path",
    ),
    "fit, out": (
        (*FIT, "no/m.npz"),
        "no/m.npz: there is no folder no; make it, or name another file",
    ),
    "fit, ending": ((*FIT, "m"), "--out must end in .npz, was m"),
    "bounds, one run": (
        ("bounds", "oto", "--runs", 1),
        "runs must be a whole number of at least 2, was 1",
    ),
    "option of another figure": (
        ("reproduce", "hieropo-fig2", "oto-fig3", "--movielens", "log.csv"),
        "--movielens is for hieropo-fig3, movielens-ratings, none of which is asked for",
    ),
    "option of no figure asked": (
        ("reproduce", "--open-bandit", "log.csv"),
        "--open-bandit is for open-bandit, none of which is asked for; leave it out, or name one",
    ),
    "option that a table does not follow": (
        ("reproduce", "oto-tables", "--runs", 5),
        "--runs is for hieropo-fig2, hieropo-fig3, fit-consistency",
    ),
    "score, a log for a model": (
        ("score", "log.csv", "log.csv"),
        "log.csv: not a model of jaxbandit; make one with jaxbandit fit",
    ),
    "no study": (("sweep", "no.toml"), "no.toml: no such file or directory; check the path"),
    "folder": (("sweep", "."), ".: is a directory; name a file"),
    "two sources": (
        ("reproduce", "oto-fig5", "--synthetic", "--avazu", "x.gz"),
        "give only one of --avazu and --synthetic",
    ),
    "no Avazu": (
        ("reproduce", "oto-tables", "oto-fig5", "--avazu", "x.gz"),
        "--avazu: there is no file x.gz; check the path",
    ),
    "no source": (("reproduce", "oto-tables", "oto-table3"), "give one of --avazu FILE"),
    "no clicks": (("reproduce", "oto-tables", "open-bandit"), "give --open-bandit DIR"),
    "no ratings": (
        ("reproduce", "oto-tables", "movielens-ratings", "--movielens", "x"),
        "--movielens: x is not there",
    ),
    "means of a family": (
        (*BOUNDS, "--family", "ucb-equalised", "--means", 0.5, 0.4, "--counts", 3, 4),
        "--means are of Bernoulli arms, and family ucb-equalised makes its own",
    ),
    "arms without data": (
        (*BOUNDS, "--family", "ucb-equalised"),
        "--horizons must be at least 20 where --counts has a 0, so that every arm is pulled",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_computed(name, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "log.csv").write_text("ad,click\na,1\nb,0\n")
    arguments, message = REFUSED[name]
    status, _, said = command(*arguments)
    assert status == 1
    assert said.startswith("jaxbandit: ")
    assert said.count("\n") == 1
    assert message in said
    assert [path.name for path in tmp_path.rglob("*.*")] == ["log.csv"]


def test_limits():
    assert check_seed("seed", 2**32 - 1) == 2**32 - 1
    assert check_count("horizon", LARGEST) == LARGEST
    assert_refused(lambda: check_seed("seed", 2**32), "seed must be at most 4294967295")
    assert_refused(lambda: check_count("horizon", LARGEST + 1), "horizon must be at most")


def test_places(tmp_path):
    files.check_folder("--out", tmp_path / "new" / "below")
    files.check_place(tmp_path / "file")
    assert_refused(lambda: files.check_place(tmp_path), "is a folder; name a file")
    message = "p.png: there is no folder .*no; make it, or name another file"
    with pytest.raises(jaxbandit.InputError, match=message), files.whole(tmp_path / "no" / "p.png"):
        pytest.fail("nothing is to be written")


def test_messages_of_the_system():
    assert cli._said(PermissionError(13, "Permission denied", "a")) == (
        "a: permission denied; check its permissions"
    )
    assert cli._said(OSError(28, "No space left on device", "a")) == "a: no space left on device"
    assert cli._said(OSError("lost")) == "lost"


def test_version(command):
    assert command("--version") == (0, f"jaxbandit {jaxbandit.__version__}\n", "")


def test_extras_are_those_that_there_are(root_directory):
    text = (root_directory / "pyproject.toml").read_text()
    for extra in ("studies", "cluster"):
        assert f"\n{extra} = [" in text
        assert f'pip install ".[{extra}]"' in extras.install(extra)
