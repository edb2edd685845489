"""TOML files of which errors can name the line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from jaxbandit.checks import InputError

_KEY = r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'"""
_DOTTED = rf"(?:{_KEY})(?:\s*\.\s*(?:{_KEY}))*"
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_DOTTED})\s*\]")
_ENTRY = re.compile(rf"\s*({_DOTTED})\s*=")
_STRING = re.compile(r'"(?:\\.|[^"\\])*"|' + r"'[^']*'")


@dataclass(frozen=True)
class Source:
    """Where settings came from."""

    name: str
    lines: dict[str, int] = field(default_factory=dict)
    """Line of each key, by its dotted path; the n-th table of an array has the path `key[n]`."""

    def refuse(self, path: str, text: str) -> NoReturn:
        """Raise an error that names the file and the line of a key, or of the table it is in.

        Raises:
            InputError: always.
        """
        raise InputError(f"{self._place(path)}: {' '.join(text.split())}")

    def _place(self, path: str) -> str:
        while path:
            if path in self.lines:
                return f"{self.name}, line {self.lines[path]}"
            path = path.rpartition(".")[0]
        return self.name


def read(path: Path) -> tuple[dict[str, Any], Source]:
    """The tables of a TOML file, and where its keys are.

    Raises:
        InputError: not TOML.
        OSError: the file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        return tomllib.loads(text), Source(str(path), locate(text))
    except ValueError as error:
        raise InputError(f"{path} is not TOML: {error}") from None
    except RecursionError:
        raise InputError(f"{path}: its values are nested too deep") from None


def locate(text: str) -> dict[str, int]:
    """The line of every key and table header, by dotted path.

    >>> locate("runs = 2\\n[a.b]\\nc = 1\\n[[d]]\\ne = 1")
    {'runs': 1, 'a.b': 2, 'a.b.c': 3, 'd[0]': 4, 'd[0].e': 5}
    """
    lines: dict[str, int] = {}
    arrays: dict[str, int] = {}
    table, depth = "", 0
    for number, line in enumerate(text.splitlines(), start=1):
        if depth == 0:
            header, entry = _HEADER.match(line), _ENTRY.match(line)
            if header:
                table = _path(header[2])
                if header[1] == "[[":
                    arrays[table] = arrays.get(table, -1) + 1
                    table = f"{table}[{arrays[table]}]"
                lines.setdefault(table, number)
                continue
            if entry:
                key = _path(entry[1])
                lines.setdefault(f"{table}.{key}" if table else key, number)
        # Within a value of several lines nothing is a key.
        bare = _STRING.sub("", line).split("#")[0]
        depth += sum(map(bare.count, "[{")) - sum(map(bare.count, "]}"))
    return lines


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The known name nearest to one that is not, as the end of a message."""
    known = list(known)
    if not known:
        return ""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0)
    return f"; did you mean {nearest[0] if nearest else known[0]!r}?"


def _path(dotted: str) -> str:
    return ".".join(part.strip("\"'") for part in re.findall(_KEY, dotted))
