"""CSV: every line becomes a record, or an error that names it."""

import csv
import gzip
import io

import numpy as np
import pytest

from jaxbandit.datasets import csv_file
from jaxbandit.datasets.csv_file import CsvFile
from jaxbandit.datasets.log_file import LogFile
from tests.messages import assert_refused

HEADER = b"a,x,text\n"


def write(path, content):
    path.write_bytes(content)
    return path


def read(path):
    file = LogFile(path)
    batches = list(file.batches(["x"], ["a"], drop_missing=False))
    rows = [row for batch in batches for row in batch.frame.select("a", "x").rows()]
    return rows, [line for batch in batches for line in batch.line]


AB = [("a", 0.0), ("b", 1.0)]
TAKEN = {
    "stray quotes": (HEADER + b'a,0,5" s\nb,1,7" s\n', AB, [2, 3]),
    "line end in quotes": (HEADER + b'a,0,"s\nt"\nb,1,u\n', AB, [2, 4]),
    "comma in quotes": (b'a,x,text\n"c, d",0,"e,f"\n', [("c, d", 0.0)], [2]),
    "doubled quotes": (HEADER + b'"a ""b""",1,s\n', [('a "b"', 1.0)], [2]),
    "byte order mark": (b"\xef\xbb\xbf" + HEADER + b"a,0,s\nb,1,t\n", AB, [2, 3]),
    "its header in quotes": (b'\xef\xbb\xbf"a","x"\n"a","0"\n"b","1"\n', AB, [2, 3]),
    "spaces": (b"text, a , x\ns, a , 0\ns,b, 1 \n", AB, [2, 3]),
    "quotes after spaces": (b'a, "x"\n "a", "0"\nb,1\n', AB, [2, 3]),
    "CR LF and LF": (b"a,x,text\r\na,0,s\r\nb,1,t\n", AB, [2, 3]),
    "blank lines": (HEADER + b"\na,0,s\n\r\n\nb,1,t\n\n\n", AB, [3, 6]),
    "no line end": (HEADER + b"a,0,s\nb,1,t", AB, [2, 3]),
    "long value": (HEADER + b"a,0," + b"s" * 200_000 + b"\nb,1,t\n", AB, [2, 3]),
    "long value in quotes": (HEADER + b'a,0,"s""' + b"s" * 200_000 + b'"\nb,1,t\n', AB, [2, 3]),
    "comma at the end": (b"a,x,\na,0,\nb,1,\n", AB, [2, 3]),
}


@pytest.mark.parametrize("block", [1, 16, 1 << 24])
@pytest.mark.parametrize("name", TAKEN)
def test_records(name, block, tmp_path, monkeypatch):
    if "long" not in name:
        monkeypatch.setattr(csv_file, "BLOCK", block)
    content, rows, lines = TAKEN[name]
    assert read(write(tmp_path / "log.csv", content)) == (rows, lines)


GOOD = HEADER + b"a,0,s\n"
REFUSED = {
    "quote never closed": (GOOD + b'b,1,"s\nc,1,t\n', "line 3: .*opened and never closed"),
    "text after a quote": (GOOD + b'b,1,"s"t\n', "line 3: .*goes on after the quote"),
    "too few": (GOOD + b"b,1\n", "line 3: 2 values, but the header has 3"),
    "too many": (GOOD + b"b,1,s,\n", "line 3: 4 values, but the header has 3"),
    "few and many": (GOOD + b"b,1\nc,1,s,t\n", "line 3: 2 values, but the header has 3"),
    "CR alone": (b"a,x\ra,0\rb,1\r", "line 1: .*not in CR alone"),
    "a CR among LF": (GOOD + b"b,1,s\rc,1,t\n", "line 3: .*not in CR alone"),
    "NUL": (GOOD + b"b\0,1,s\n", "line 3: not UTF-8"),
    "Latin-1 in a column not read": (GOOD + b"b,1,\xe9\n", "line 3: not UTF-8"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "not UTF-8 but UTF-16; encode"),
    "packed": (gzip.compress(GOOD), "called .csv but is packed; unpack it"),
    "blank header": (b"\n" + GOOD, "line 1: must be the header, is blank"),
    "after blank lines": (GOOD + b"\n\nb,z,s\n", "line 5: column 'x' must be a number, was 'z'"),
    "after lines in quotes": (GOOD + b'b,1,"s\n"\nc,z,s\n', "line 5: column 'x' .*, was 'z'"),
    "after a long value": (HEADER + b"s" * 200_000 + b",1,s\na,z,s\n", "line 3: .*was 'z'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_the_line(name, tmp_path):
    content, message = REFUSED[name]
    assert_refused(lambda: read(write(tmp_path / "log.csv", content)), message)


def test_semicolons(tmp_path):
    file = LogFile(write(tmp_path / "log.csv", b"a;x\na;1\n"))
    assert_refused(lambda: file.require("--arm", ["a"]), "it has a;x; values must be separated by")


@pytest.mark.parametrize("kind", ["plain", "stray", "quoted", "mixed"])
def test_against_the_standard_reader(kind, tmp_path, monkeypatch):
    """Blocks cut at commas, and those read value by value, give the standard reader's records."""
    monkeypatch.setattr(csv_file, "BLOCK", 64)
    rng = np.random.default_rng(0)
    plain = ["s", "", "é", "7"]
    choice = {
        "plain": plain,
        "stray": [*plain, '5" s', 's"'],
        "quoted": [*plain, '"s"', '""', '"s, t"', '"s,"'],
        "mixed": [*plain, '5" s', '"s\nt"', '"s ""t"""', '""""', ' "s"', '"s, t"'],
    }[kind]
    for _ in range(20):
        rows = [",".join(rng.choice(choice, 3)) for _ in range(40)]
        content = "a,b,c\n" + "\n".join(rows) + "\n"
        path = write(tmp_path / "log.csv", content.encode())
        blocks = list(CsvFile(path).blocks(["c", "a"]))
        read = [row for block in blocks for row in block.text.rows()]
        reader = csv.reader(io.StringIO(content, newline=""), strict=True, skipinitialspace=True)
        expected = [(c or None, a or None) for a, _, c in reader][1:]
        # A quote of no value's may stand in quotes after cuts; spaces are taken off later.
        assert [tuple(v and v.strip() for v in row) for row in read] == expected
        assert sum(len(block.line) for block in blocks) == 40
