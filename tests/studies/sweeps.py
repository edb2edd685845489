"""A tiny study in many blocks, for tests of what happens to them."""

import hashlib
import tomllib

from jaxbandit.studies import layout, reading, run
from jaxbandit.studies.toml import Source, locate

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
