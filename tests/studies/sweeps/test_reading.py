"""STUDY.toml: there and back, and what every mistake in one is told."""

import re
import tomllib

import numpy as np
import pytest

from jaxbandit.engine import programs
from jaxbandit.studies.sweeps import cells, ranges, reading, spec
from jaxbandit.studies.sweeps.toml import Source, locate
from tests.messages import assert_refused
from tests.studies.sweeps.stores import STUDY, parsed

OFFPOLICY = """
journey = "offpolicy"
runs = 40
records = [10, 20]
algorithms = ["HierOPO", "FlatOPO"]

[design]
contexts = 20
features = 2

[[sweep]]
"design.tasks" = [2, 4]

[precision]
standard_error = 0.1
"""


@pytest.mark.parametrize("text", [STUDY, OFFPOLICY])
def test_there_and_back(text):
    study, _ = parsed(text)
    again = spec.dumps(study)
    assert reading.from_table(tomllib.loads(again), Source("again")) == study
    assert spec.dumps(reading.from_table(tomllib.loads(again), Source("again"))) == again


def test_cells_are_the_product_of_axes_and_the_zip_within_one():
    study, _ = parsed(STUDY)
    assert study.shape == (2, 2, 2)
    found = [study.cell(index) for index in range(study.cells)]
    expected = [
        {
            "policies.oto.alpha": alpha,
            "confidence.delta": delta,
            "environment.mean": mean,
            "offline.count": count,
        }
        for alpha in (0.01, 1.0)
        for delta in (0.01, 0.1)
        for mean, count in (([0.2, 0.5, 0.6], [5, 5, 0]), ([0.5, 0.5, 0.52], [9, 0, 0]))
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"from": 0, "to": 1, "points": 5}, (0, 0.25, 0.5, 0.75, 1)),
        ({"from": 0.1, "to": 0.7, "step": 0.2}, (0.1, 0.3, 0.5, 0.7)),
        ({"from": 10, "to": 1, "step": -4}, (10, 6, 2)),
        ({"from": 200, "to": 20000, "points": 3, "scale": "log"}, (200, 2000, 20000)),
        ({"from": 1, "to": 1, "points": 1}, (1,)),
        ([3, 1], (3, 1)),
    ],
)
def test_ranges(given, expected):
    found = ranges.values("key", given)
    assert found == expected
    assert [type(a) for a in found] == [
        type(b) if b % 1 else type(a) for a, b in zip(found, expected, strict=True)
    ]


def test_lines():
    text = """a = 1
[b]  # words
c = [
  [1],
  ["d = 2"]]
[[e]]
"f.g" = { h = 1 }
[[e]]
'f' .g = 2"""
    assert locate(text) == {
        "a": 1,
        "b": 2,
        "b.c": 3,
        "e[0]": 6,
        "e[0].f.g": 7,
        "e[1]": 8,
        "e[1].f.g": 9,
    }


GAUSSIAN = """
journey = "online"
runs = 1
horizon = 2
[environment]
kind = "gaussian"
mean = [1]
std = 1
[policies.ucb]
"""

# Each mistake: what is replaced in which file, and the message, with its line.
MISTAKES = [
    (STUDY, 'journey = "online"', "", "study.toml: journey must be"),
    (STUDY, "runs = 2100", "", "study.toml: runs must be given"),
    (
        STUDY,
        "runs = 2100",
        "runs = '2'",
        "line 3: runs must be a whole number of at least 1, was '2'",
    ),
    (STUDY, "runs = 2100", "run = 2", "line 3: no option 'run'; did you mean 'runs'"),
    (STUDY, "seed = 3", "seed = -1", "line 4: seed must be a whole number of at least 0"),
    (STUDY, "seed = 3", "seed = 4294967296", "line 4: seed must be at most 4294967295"),
    (STUDY, "horizon = 12", "horizon = 100_000_000_000", "line 5: horizon must be at most"),
    (STUDY, "horizon = 12", "horizon = 0", "line 5: horizon must be a whole number of at least 1"),
    (
        STUDY,
        "bernoulli",
        "bernouli",
        "line 8: environment has no kind 'bernouli'; did you mean 'bernoulli'",
    ),
    (GAUSSIAN, "std = 1\n", "", "line 5: environment.std must be given"),
    (
        STUDY,
        "mean = [0.2",
        "means = [0.2",
        "line 9: no option 'environment.means'; did you mean 'mean'",
    ),
    (
        STUDY,
        "[5, 5, 0]\n\n[pol",
        "5\n\n[pol",
        "line 12: offline.count must be a list of numbers, was 5",
    ),
    (
        STUDY,
        "[policies.ucb]",
        "[policies.ubc]",
        "line 14: policies.ubc must say which kind it is, .*'ucb'",
    ),
    (
        STUDY,
        "[policies.ucb]",
        '[policies.a]\nkind = "ocb"',
        "line 15: policies.a has no kind 'ocb'; did",
    ),
    (
        STUDY,
        "[policies.oto]",
        "[policies.oto]\nalhpa = 1",
        "line 16: no option 'policies.oto.alhpa'; .*'alpha'",
    ),
    (
        STUDY,
        "[policies.oto]",
        "[policies.oto]\nalpha = 'a'",
        "line 16: policies.oto.alpha must be a number",
    ),
    (
        STUDY,
        "[policies.oto]",
        "[policies.oto]\nalpha = [1]",
        "line 16: .* must be one number .*sweep it",
    ),
    (
        STUDY,
        "[policies.oto]",
        "[policies.oto]\nbudget = 'a'",
        "line 16: policies.oto: budget must be one of",
    ),
    (
        STUDY,
        "[0.01, 1.0]",
        "[0.01, -1.0]",
        "line 22: policies.oto: alpha must not be negative, was -1.0",
    ),
    (
        STUDY,
        "[0.01, 1.0]",
        "[]",
        "line 22: policies.oto.alpha must have at least one value, was empty",
    ),
    (STUDY, "[0.01, 1.0]", "3", "line 22: policies.oto.alpha must be a list of values or a range"),
    (
        STUDY,
        '"policies.oto.alpha"',
        '"policies.oto.aplha"',
        "line 22: .* cannot be swept; .*'policies.oto.alpha'",
    ),
    (STUDY, "points = 2", "points = 0", "line 25: confidence.delta: points must be a whole number"),
    (STUDY, "points = 2", "step = 1", "line 25: .* must have points, not a step"),
    (STUDY, "points = 2, ", "", "line 25: .* must have either step or points"),
    (STUDY, "from = 0.01", "from = 0", "line 25: .* must lie above 0"),
    (STUDY, "from = 0.01", "form = 0.01", "line 25: .* a range has no 'form'; did you mean 'from'"),
    (STUDY, 'scale = "log"', 'scale = "lag"', 'line 25: .*scale must be "linear" or "log"'),
    (
        STUDY,
        "to = 0.1",
        "to = 2",
        "line 25: confidence: delta must lie strictly between 0 and 1, was 2",
    ),
    (STUDY, 'name = "instance"', 'name = "policy"', "line 28: the name 'policy' is taken"),
    *(
        (STUDY, 'name = "instance"', f'name = "{name}"', f"line 28: the name '{name}' is taken")
        for name in (
            *("precise", "runs", "Round", "left_out", "non_finite_run", "final_regret"),
            *("regret_mean", "difference_std", "info_ucb_share_sem", "Pulls_Mean"),
            *("Alpha", "delta", "environment.mean", "offline.count"),
        )
    ),
    *(
        (STUDY, 'name = "instance"', f'name = "{name}"', "line 28: name must ")
        for name in (
            *("", " ", "a ", "zarr.json", ".", "..", ".a", "__a", "a/b", "a\\\\b", "\\u0000x"),
            *("a\\n", "\\u202e", "x" * 201, "é" * 101),
        )
    ),
    (
        STUDY.replace('name = "instance"\nlabels = ["easy", "hard"]\n', ""),
        '"environment.mean"',
        'name = "environment.mean"\n"environment.mean"',
        "line 28: the name 'environment.mean' is taken",
    ),
    (STUDY, '"hard"', '"easy\\u0000"', "line 29: labels must be 2 different strings"),
    (
        STUDY,
        "[policies.ucb]",
        '[policies."a - b"]\nkind = "ucb"',
        "a policy's name must not have ' - ' in it, was 'a - b'",
    ),
    (
        STUDY,
        "[policies.ucb]",
        '[policies."a/b"]\nkind = "ucb"',
        "a policy's name must be printable, without slashes, .* was 'a/b'",
    ),
    *(
        (STUDY, 'kind = "bernoulli"', f"kind = {kind}", "line 8: environment has no kind ")
        for kind in ("[]", "{}", "3")
    ),
    (STUDY, '"easy", "hard"', '"easy"', "line 29: labels must be 2 different strings"),
    (
        STUDY,
        ", [9, 0, 0]]",
        "]",
        "line 27: keys of one axis must have as many values: .*has 2, .*has 1",
    ),
    (
        STUDY,
        "[9, 0, 0]]",
        "[-9, 0, 0]]",
        "line 31: offline_count must be a whole number of at least 0, was",
    ),
    (
        STUDY,
        "[9, 0, 0]]",
        "[9.5, 0, 0]]",
        "line 31: offline_count must be a whole number of at least 0, was",
    ),
    (STUDY, "[9, 0, 0]]", "[9, 0]]", "line 31: "),
    (
        STUDY,
        "[0.5, 0.5, 0.52]",
        "[0.5, 0.5, 52]",
        r"line 30: environment: mean must lie in \[0, 1\]",
    ),
    (STUDY, "[9, 0, 0]]", "[0, 0, 0]]", "OtO's budget comes from offline data"),
    (
        STUDY,
        "checkpoints = 4",
        "checkpoints = [4, 13]",
        "line 18: checkpoints must lie within the horizon 12",
    ),
    (
        STUDY,
        "checkpoints = 4",
        "checkpoints = [4, 4]",
        "line 18: checkpoints must be a list of increasing",
    ),
    (STUDY, "finals = true", "finals = 1", "line 19: finals must be true or false, was 1"),
    (
        STUDY,
        "finals = true",
        "final = true",
        "line 19: no option 'outputs.final'; did you mean 'finals'",
    ),
    (
        STUDY,
        "[outputs]",
        "[precision]\nstandard_error = 0\n[outputs]",
        "line 18: standard_error must be a positive",
    ),
    (
        STUDY,
        "[policies.ucb]\n[policies.oto]",
        "",
        "study.toml: policies must name at least one policy, as .policies.ucb.",
    ),
    (
        STUDY,
        '[environment]\nkind = "bernoulli"\nmean = [0.2, 0.5, 0.6]',
        "environment = 3",
        "line 7: environment must be a table, headed .environment., was 3",
    ),
    (
        STUDY,
        "mean = [0.2, 0.5, 0.6]",
        "mean = ['a']",
        "line 9: environment.mean must be a list of numbers, was",
    ),
    (
        STUDY,
        "[policies.oto]",
        "[confidence]\nanytime = 1\n[policies.oto]",
        "line 16: confidence.anytime must be true or false, was 1",
    ),
    (
        STUDY,
        '"policies.oto.alpha" = [0.01, 1.0]',
        "",
        "line 21: an axis of a sweep must have a key with its values",
    ),
    (
        STUDY,
        "confidence.delta =",
        '"policies.oto.alpha" =',
        "line 25: policies.oto.alpha is swept by two axes",
    ),
    (STUDY, "confidence.delta =", "horizon =", "line 25: horizon must be a whole number .* 0.01"),
    (STUDY, 'name = "instance"', "name = 3", "line 28: name must be a string, was 3"),
    (
        GAUSSIAN,
        "[environment]",
        "sweep = 3\n[environment]",
        "line 5: sweep must be tables, each an",
    ),
    (
        STUDY,
        'points = 2, scale = "log"',
        "step = -1",
        "line 25: .* step must lead from 0.01 to 0.1, was -1",
    ),
    (STUDY, "from = 0.01", "from = 'a'", "line 25: .* from of a range must be a number, was 'a'"),
    (STUDY, "points = 2", "points = 20_000_000", "line 25: .* 10,000,000 points at most, has 20,0"),
    (
        STUDY.replace("[0.01, 1.0]", "{ from = 1, to = 2, points = 3000 }"),
        "points = 2,",
        "points = 2000,",
        "study.toml: a grid may have 10,000,000 cells, has 12,000,000",
    ),
    (
        OFFPOLICY,
        '["HierOPO", "FlatOPO"]',
        '"HierOPO"',
        "line 5: algorithms must be a list of names",
    ),
    (OFFPOLICY, '"FlatOPO"', '"HierOPO"', "line 5: algorithms must differ"),
    (
        OFFPOLICY,
        "[precision]",
        "[outputs]\ncheckpoints = 3\n[precision]",
        "line 15: the checkpoints of this journey are its records",
    ),
    (OFFPOLICY, '"FlatOPO"', '"FlatOP"', "line 5: no algorithm 'FlatOP'; did you mean 'FlatOPO'"),
    (
        OFFPOLICY,
        "[10, 20]",
        "[20, 10]",
        "line 4: records must be a list of increasing whole numbers",
    ),
    (OFFPOLICY, "[2, 4]", "[0, 4]", "line 12: design: tasks must lie between 1 and"),
    (
        OFFPOLICY,
        "standard_error = 0.1",
        "standard_error = 0.1\npolicy = 'Hier'",
        "line 16: no policy 'Hier'",
    ),
    (
        OFFPOLICY,
        "standard_error = 0.1",
        "standard_error = 0.1\nminus = 'HierOPO'",
        "line 16: minus needs a policy",
    ),
    (
        OFFPOLICY,
        "[precision]",
        "[outputs]\nfinals = true\n[precision]",
        "line 15: only the online journey",
    ),
    (OFFPOLICY, "design.tasks", "design.max_tasks", "line 12: 'design.max_tasks' cannot be swept"),
]


@pytest.mark.parametrize(("text", "old", "new", "message"), MISTAKES)
def test_mistakes(text, old, new, message):
    assert text.count(old) >= 1

    def read_and_build():
        study, source = parsed(text.replace(old, new, 1))
        cells.build(study, source, range(study.cells))

    assert_refused(read_and_build, message)


def test_examples(root_directory):
    """Those in scripts, and the page's."""
    texts = [path.read_text() for path in sorted((root_directory / "scripts").glob("*.toml"))]
    assert len(texts) == 2
    texts += re.findall(
        r"```toml\n(journey.*?)```", (root_directory / "docs/sweeps.md").read_text(), re.S
    )
    assert len(texts) == 3
    for text in texts:
        study, source = parsed(text)
        assert len(cells.build(study, source, range(study.cells))) == study.cells


def test_not_toml(tmp_path):
    (tmp_path / "study.toml").write_text("runs = ")
    assert_refused(lambda: reading.load(tmp_path / "study.toml"), "study.toml is not TOML: ")
    deep = "[" * 100_000 + "]" * 100_000
    for text, message in (
        (f"runs = {deep}", "nested too deep"),
        (f"runs = {'a = {' * 9}", "is not TOML"),
        (f"{'.'.join('a' * 5000)} = 1", "journey must be"),
        (f"runs = {'1' * 5000}", "is not TOML: Exceeds the limit"),
        ('journey = "online"\n[[sweep]]\n' + f"{'.'.join('a' * 5000)} = [1]", "nested too deep"),
    ):
        (tmp_path / "study.toml").write_text(text)
        assert_refused(lambda: reading.load(tmp_path / "study.toml"), message)
    with pytest.raises(FileNotFoundError):
        reading.load(tmp_path / "nothing.toml")


def test_cells_share_programs():
    """Cells that differ in numbers are one program; another number of arms is another."""

    study, source = parsed(STUDY)
    built = cells.build(study, source, range(study.cells))
    assert len({programs.compile_kind(cell.job) for cell in built.values()}) == 1
    text = STUDY.replace("[0.5, 0.5, 0.52]", "[0.5, 0.52]").replace("[9, 0, 0]]", "[9, 0]]")
    study, source = parsed(text)
    built = cells.build(study, source, range(study.cells))
    assert len({programs.compile_kind(cell.job) for cell in built.values()}) == 2
    np.testing.assert_array_equal([cell.arms for cell in built.values()], [3, 2] * 4)
