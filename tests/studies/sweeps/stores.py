"""A tiny study in many blocks, for tests of what happens to them."""

import hashlib
import os
import tomllib

import numpy as np

from jaxbandit.studies.sweeps import layout, reading, run
from jaxbandit.studies.sweeps.blocks import read_block
from jaxbandit.studies.sweeps.result import RESULT
from jaxbandit.studies.sweeps.toml import Source, locate

# A few tiles a block, so that a tiny study has many.
WORK = 20_000
STUDY = """
journey = "online"
runs = 2100
seed = 3
horizon = 12

[environment]
kind = "bernoulli"
mean = [0.2, 0.5, 0.6]

[offline]
count = [5, 5, 0]

[policies.ucb]
[policies.oto]

[outputs]
checkpoints = 4
finals = true

[[sweep]]
"policies.oto.alpha" = [0.01, 1.0]

[[sweep]]
confidence.delta = { from = 0.01, to = 0.1, points = 2, scale = "log" }

[[sweep]]
name = "instance"
labels = ["easy", "hard"]
"environment.mean" = [[0.2, 0.5, 0.6], [0.5, 0.5, 0.52]]
"offline.count" = [[5, 5, 0], [9, 0, 0]]
"""


def parsed(text):
    """The study of a text, and where its settings are."""
    source = Source("study.toml", locate(text))
    return reading.from_table(tomllib.loads(text), source), source


def planned(text=STUDY, work=WORK):
    """A plan with small blocks."""
    before, layout._WORK = layout._WORK, work
    try:
        return run.plan(*parsed(text))
    finally:
        layout._WORK = before


def contents(folder):
    """Every file below a folder with its digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def blocks(store):
    """Files of blocks."""
    return sorted((store / "blocks").glob("*.npz"))


def written(store):
    """All files of a store, unfinished ones too."""
    return {os.path.join(folder, name) for folder, _, names in os.walk(store) for name in names}


def assert_same_store(store, complete):
    """The same bits: of the result every file, of the blocks every array; nothing else is there."""
    assert contents(store / RESULT) == contents(complete / RESULT)
    for ours, theirs in zip(blocks(store), blocks(complete), strict=True):
        assert ours.name == theirs.name
        ours, theirs = (read_block(path)[0] for path in (ours, theirs))
        assert ours.keys() == theirs.keys()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])
    assert {path.name for path in store.iterdir()} == {"blocks", "study.json", RESULT}
    assert len(list((store / "blocks").iterdir())) == len(blocks(store))
