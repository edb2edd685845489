"""The numerical tests once more, in float64: precision is chosen when a process starts."""

import subprocess
import sys

import pytest

FILES = {
    "matrices and posteriors": [
        "test_oracle.py",
        "linalg/test_products.py",
        "linalg/test_packed.py",
        "linalg/test_spd.py",
        "linalg/test_eigen.py::test_slopes",
        "engine/test_moments.py",
        "inference/test_posterior.py",
        "inference/test_derivatives.py",
        "inference/test_statistics.py",
        "inference/test_properties.py",
        "inference/fit/test_empirical_bayes.py::test_fit_is_the_maximum_of_the_dense_likelihood",
        "inference/test_evaluation.py::test_values_are_those_of_a_loop",
        "inference/test_evaluation.py::test_predictions_and_their_scores",
        "inference/test_two_level.py::test_slopes_of_laplace",
        "inference/test_recursive.py::test_every_round_is_the_posterior_of_all_records",
    ],
    "bounds": ["bounds/test_suboptimality.py", "bounds/test_regret.py"],
    "decisions": [
        "policies/arms/test_decisions.py",
        "simulation/test_arguments.py::test_counts_that_only_float64_holds",
    ],
    "baselines": ["policies/arms/test_baselines.py", "policies/test_contract.py"],
    "many decisions": ["policies/arms/test_decisions.py"],
}
# Which of a part's tests, where not all that are quick: those that precision matters to.
CHOICE = {
    # Of the orders of matrices, those at which code changes: none, written out, blocks.
    "matrices and posteriors": [
        "-k",
        "not under_vmap and not many_tasks and not what_else_is_in_pieces and not _scan"
        " and not 2] and not 3] and not 6] and not 7] and not -10]",
    ],
    "baselines": ["-k", "as_the_oracle or types_are_kept"],
    "many decisions": ["-m", "slow"],
}


@pytest.mark.float32  # a process in float64 need not start another
@pytest.mark.parametrize(
    "part",
    [
        pytest.param(part, marks=[pytest.mark.slow] if "slow" in CHOICE.get(part, []) else [])
        for part in FILES
    ],
)
def test_numerical_tests_pass_in_float64(part, root_directory, environment):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-x"]
        + CHOICE.get(part, [])
        + [str(root_directory / "tests" / name) for name in FILES[part]],
        cwd=root_directory,
        env=environment | {"JAX_ENABLE_X64": "1", "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
