"""What all tests share: how exact the precision in use has to be, and how to start a process."""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jaxtyping
import pytest

from tests import shapes

# Tests run a process a core: programs compiled in parts by several threads only get in their way.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_parallel_codegen_split_count=1")

# What one process of this session has compiled, the others need not. The first makes the folder,
# and those that it starts use it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxbandit-tests-")
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "0"
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

if shapes.SWITCH in os.environ:
    # Before the package is imported.
    jaxtyping.install_import_hook("jaxbandit", f"{shapes.__name__}.checked")


@pytest.fixture(scope="session")
def x64() -> bool:
    """Whether this process computes in float64."""
    return bool(jax.config.jax_enable_x64)


@pytest.fixture(scope="session")
def rtol(x64) -> float:
    """Normwise relative error that posteriors may have."""
    return 1e-10 if x64 else 1e-4


@pytest.fixture(scope="session")
def tol(x64) -> dict[str, float]:
    """Entrywise errors that products and factors of small matrices may have."""
    return {"rtol": 1e-11, "atol": 1e-12} if x64 else {"rtol": 2e-4, "atol": 1e-5}


@pytest.fixture(scope="session")
def root_directory() -> Path:
    """Where the package and its tests lie."""
    return Path(__file__).parents[1]


@pytest.fixture(scope="session")
def environment(tmp_path_factory) -> dict[str, str]:
    """Environment of a process in which warnings are errors too, and whose compiled programs are
    kept for this session alone."""
    cache = str(tmp_path_factory.mktemp("cache"))
    return dict(os.environ) | {"PYTHONWARNINGS": "error", "XDG_CACHE_HOME": cache}


@pytest.fixture(scope="session")
def jaxbandit(root_directory, environment):
    """The command line, as a process."""

    def call(*arguments, timeout=300):
        return subprocess.run(
            [sys.executable, "-m", "jaxbandit", *map(str, arguments)],
            cwd=root_directory,
            env=environment | {"PYTHONWARNINGS": "default"},
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return call


@pytest.fixture
def made():
    """Grows by a word with each step that JAX takes to a program: "trace", "lower", "compile"."""
    steps = {"trace": "trace", "mlir": "lower", "backend_compile": "compile"}
    seen = []

    def listen(event, seconds, **_):
        seen.extend(step for word, step in steps.items() if word in event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seen
    jax.monitoring.unregister_event_duration_listener(listen)


def pytest_collection_modifyitems(config, items):
    """Tests for the other precision are left to a process in it; long ones, which are those that
    start a process, come first, so that none is last."""
    other = "float32" if jax.config.jax_enable_x64 else "float64"
    config.hook.pytest_deselected(items=[x for x in items if x.get_closest_marker(other)])
    items[:] = [x for x in items if not x.get_closest_marker(other)]
    items.sort(key=lambda item: item.path.name not in ("test_x64.py", "test_shapes.py"))
