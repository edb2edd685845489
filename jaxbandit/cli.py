"""The command line.

Exit status 0 on success, 1 on a failure with a one-line reason, 2 on bad usage.
"""

from __future__ import annotations

import gc
import sys

import jaxbandit
from jaxbandit.checks import InputError
from jaxbandit.commands import logs, papers, sweeps
from jaxbandit.extras import install

_REMEDIES: tuple[tuple[type[OSError], str], ...] = (
    (FileNotFoundError, "check the path"),
    (IsADirectoryError, "name a file"),
    (NotADirectoryError, "name a folder"),
    (FileExistsError, "name a folder"),
    (PermissionError, "check its permissions"),
)


def main() -> None:
    """Entry point of `jaxbandit`: runs a command and exits with its status."""
    if sys.argv[1:] == ["--version"]:
        print(f"jaxbandit {jaxbandit.__version__}")
        return
    try:
        from tyro.conf import OmitArgPrefixes, OmitSubcommandPrefixes
        from tyro.extras import subcommand_cli_from_dict

        from jaxbandit.engine import compilation_cache
    except ModuleNotFoundError:
        sys.exit(f"jaxbandit: the command line needs more packages; {install('studies')}")
    # Programs are traced as graphs of some hundred thousand objects, which the collector would walk
    # through again and again.
    gc.set_threshold(100_000)
    compilation_cache.use()
    commands = (
        papers.reproduce,
        papers.bounds,
        sweeps.sweep,
        sweeps.status,
        sweeps.plot,
        sweeps.export,
        logs.fit,
        logs.update,
        logs.score,
        logs.advise,
        info,
    )
    try:
        subcommand_cli_from_dict(
            {command.__name__: command for command in commands},
            prog="jaxbandit",
            description="Bandits that start from data: simulate, compare, reproduce. "
            "`jaxbandit --version` prints the version.",
            config=(OmitArgPrefixes, OmitSubcommandPrefixes),
        )
    except (InputError, OSError) as error:
        print(f"jaxbandit: {' '.join(_said(error).split())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("jaxbandit: interrupted; figures already written are complete", file=sys.stderr)
        sys.exit(1)


def _said(error: InputError | OSError) -> str:
    """The message; of the system's own, the path, the reason and the remedy."""
    if not isinstance(error, OSError) or error.filename is None or error.strerror is None:
        return str(error)
    remedies = [remedy for kind, remedy in _REMEDIES if isinstance(error, kind)]
    return "; ".join([f"{error.filename}: {error.strerror.lower()}", *remedies])


def info() -> None:
    """Print versions, devices and where compiled programs are kept."""
    from jaxbandit.engine import compilation_cache
    from jaxbandit.studies.report.provenance import environment

    print(f"compiled programs: {compilation_cache.folder()}")
    for name, value in environment().items():
        print(f"{name}: {value}")
