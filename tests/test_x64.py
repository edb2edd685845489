"""The numerical tests once more, in float64: precision is chosen when a process starts."""

import subprocess
import sys

import jax
import pytest

FILES = {
    "matrices and posteriors": [
        "test_oracle.py",
        "test_linalg.py",
        "test_packed.py",
        "test_spd.py",
        "test_moments.py",
        "offpolicy/test_posterior.py",
        "offpolicy/test_statistics.py",
        "offpolicy/test_properties.py",
    ],
    "bounds": [
        "offpolicy/test_bounds.py",
        "offpolicy/test_bounds_runs.py",
        "online/test_bounds.py",
        "online/test_bounds_runs.py",
    ],
}


@pytest.mark.skipif(bool(jax.config.jax_enable_x64), reason="this process is in float64 already")
@pytest.mark.parametrize("part", FILES)
def test_numerical_tests_pass_in_float64(part, root_directory, environment):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-x"]
        + [str(root_directory / "tests" / name) for name in FILES[part]],
        cwd=root_directory,
        env=environment | {"JAX_ENABLE_X64": "1", "PYTHONWARNINGS": "default"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
