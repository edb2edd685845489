"""Compiled programs kept between processes, so that a second start does not compile again."""

from __future__ import annotations

import hashlib
import platform
import warnings
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import jax
import platformdirs


def use() -> None:
    """Keep compiled programs in the user's cache directory, from now on.

    A directory named by `JAX_COMPILATION_CACHE_DIR` is used instead; one that cannot be read or
    written costs a compilation and nothing else, and so does a program that is damaged.
    """
    jax.config.update("jax_compilation_cache_dir", str(folder()))
    # All programs: a study's small ones take less than JAX's threshold each, and add up.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    warnings.filterwarnings("ignore", ".*persistent compilation cache.*")
    with suppress(ImportError):
        from jaxbandit.engine import checked_programs

        checked_programs.use()


def folder() -> Path:
    """Where programs for this machine's processor are, unless the user has chosen."""
    chosen = jax.config.values["jax_compilation_cache_dir"]
    if chosen is not None:
        return Path(chosen)
    # A home directory may be shared by machines of which one cannot run another's programs.
    kind = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    return platformdirs.user_cache_path("jaxbandit") / f"jaxlib-{version('jaxlib')}-{kind}"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    lines = (line for line in text.splitlines() if line.startswith(wanted))
    return "\n".join(sorted(set(lines)))
