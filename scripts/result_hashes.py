"""Digests of results, to tell whether a change of the code changed any bit of them.

PYTHONPATH=. python scripts/result_hashes.py > before.txt

Run it on two trees, on one machine, and compare what it prints.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import numpy as np

import jaxbandit as jb

KEY = jax.random.key(7)
STUDY = """
journey = "online"
runs = 500
seed = 3
horizon = 300

[environment]
kind = "bernoulli"
mean = [0.3, 0.5, 0.7]

[offline]
count = [20, 5, 1]

[policies.ucb]
[policies.oto]

[[sweep]]
"policies.oto.alpha" = [0.1, 0.5]
"""


def digest(tree: object) -> str:
    """Of all numbers of a pytree, with their types and shapes."""
    sha = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        sha.update(f"{array.dtype}{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()[:16]


def policies() -> dict[str, jb.Policy]:
    """One of each kind; all in one simulation would take long to compile."""
    anytime = jb.confidence(delta=0.01, anytime=True)
    return {
        "ucb": jb.ucb(),
        "ucb anytime": jb.ucb(anytime),
        "lcb": jb.lcb(),
        "oto": jb.oto(0.3),
        "oto anytime": jb.oto(0.3, anytime),
        "oto unified": jb.oto(0.3, budget="unified"),
        "min_ucb": jb.min_ucb(0.1),
        "moss": jb.moss(),
        "conservative_ucb": jb.conservative_ucb(),
        "epsilon_greedy": jb.epsilon_greedy(0.1),
        "explore_then_commit": jb.explore_then_commit(5),
        "thompson_bernoulli": jb.thompson_bernoulli(),
        "thompson_gaussian": jb.thompson_gaussian(),
        "fixed_arm": jb.fixed_arm(1),
    }


def online() -> None:
    """`simulate` and `rollout`: all policies, few and many arms, drawn and given data."""
    for arms in (3, 20, 150):
        mean = np.linspace(0.2, 0.8, arms)
        environment = jb.bernoulli_arms(mean)
        offline = np.arange(arms) % 4 + 1
        for name, policy in policies().items():
            if arms == 150 and name not in ("ucb", "oto", "thompson_gaussian"):
                continue
            both = {"mine": policy, "fixed": jb.fixed_arm(0)}
            out = jb.simulate(KEY, both, environment, horizon=120, runs=300, offline_count=offline)
            mine = out["mine"]
            found = (mine.regret, mine.logging_regret, mine.reward, mine.pulls, mine.info)
            print(f"simulate {arms} {name}", digest((found, out.paired("mine", "fixed"))))
    environment = jb.gaussian_arms([0.1, 0.5, 0.4], 0.3)
    data = jb.OfflineArms(np.array([5, 3, 2]), np.array([0.6, 1.4, 0.7]))
    for name, policy in policies().items():
        if name != "thompson_bernoulli":
            print("rollout", name, digest(jb.rollout(KEY, policy, environment, data, horizon=200)))


def many_tasks() -> None:
    """`simulate_offpolicy`, `simulate_hierarchical`, sums, posteriors and a fit."""
    design = jb.synthetic_design(features=4, actions=5, tasks=6, contexts=50)
    out = jb.simulate_offpolicy(KEY, design, runs=200, records=(10, 60))
    print("simulate_offpolicy", digest(out.suboptimality))
    out = jb.simulate_hierarchical(KEY, design, rounds=60, runs=100, records=20)
    print("simulate_hierarchical", digest(out.regret))
    instance = jb.draw_from_model(KEY, design)
    log = jb.draw_log(KEY, design, instance, 5000)
    stats = jb.task_statistics(log, 6)
    print("task_statistics", digest(stats))
    print("scan_statistics", digest(jb.scan_statistics(jb.empty_statistics(6, 4), log)))
    print("task_posteriors", digest(jb.task_posteriors(design.model, stats)))
    print("fit_hierarchy", digest(jb.fit_hierarchy(stats)[:4]))


def command_line() -> None:
    """A sweep and figures, as files."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "study.toml").write_text(STUDY)
        calls = {
            "sweep": ["sweep", "study.toml", "--out", "store"],
            "export": ["export", "store", "sweep.csv"],
            "hieropo-fig2": ["reproduce", "hieropo-fig2", "--runs", "100", "--out", "figures"],
            "oto-fig3": ["reproduce", "oto-fig3", "--runs", "100", "--out", "figures"],
            "oto-tables": ["reproduce", "oto-tables", "--out", "figures"],
            "bounds": ["bounds", "oto", "--runs", "100", "--out", "bounds"],
        }
        for arguments in calls.values():
            command = [sys.executable, "-m", "jaxbandit", *arguments]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{' '.join(arguments)}: {done.stderr}")
        for file in sorted(Path(folder).rglob("*.csv")):
            print(file.relative_to(folder), hashlib.sha256(file.read_bytes()).hexdigest()[:16])


def main() -> None:
    """Entry point."""
    print(
        json.dumps({"jax": jax.__version__, "float": str(np.dtype(jax.numpy.result_type(float)))})
    )
    online()
    many_tasks()
    command_line()


if __name__ == "__main__":
    main()
