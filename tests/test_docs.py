"""The pages of docs/: their code runs and prints what they say, and the API is whole."""

import contextlib
import io
import re
import shlex
import subprocess
import sys

import pytest

import jaxbandit as jb

PAGES = (
    "getting-started",
    "concepts",
    "your-own-policy",
    "your-own-algorithm",
    "your-own-environment",
    "other-hierarchies",
    "accelerators",
    "theory",
)
# A block of code, and what it prints where the page says so.
BLOCK = re.compile(
    r"```python\n((?:(?!```).)*)```\n(?:\n```text\n((?:(?!```).)*)```\n)?", re.DOTALL
)


def assert_prints_what_it_says(page, text):
    names = {"__name__": page}
    blocks = BLOCK.findall(text)
    assert blocks, page
    for code, said in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page, "exec"), names)
        assert printed.getvalue() == said, f"{page}:\n{code}"


@pytest.mark.parametrize("page", PAGES)
def test_code_prints_what_the_page_says(page, root_directory):
    assert_prints_what_it_says(page, (root_directory / f"docs/{page}.md").read_text())


def test_your_own_log(root_directory, environment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (root_directory / "docs/your-own-log.md").read_text()
    exec(re.findall(r"<<'END'\n(.*?)\nEND\n", page, re.DOTALL)[0], {})
    commands = re.findall(r"^jaxbandit (?:fit|score) .*\n", page.replace("\\\n", ""), re.MULTILINE)
    for command in commands:
        subprocess.run(
            [sys.executable, "-m", *shlex.split(command)],
            env=environment | {"PYTHONPATH": str(root_directory), "PYTHONWARNINGS": "default"},
            check=True,
        )
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 1 + 40
    assert_prints_what_it_says("your-own-log", page)


def test_a_page_that_is_wrong_is_found():
    page = "```python\nprint(1 + 1)\n```\n\n```text\n{}\n```\n"
    assert_prints_what_it_says("right", page.format(2))
    with pytest.raises(AssertionError, match="wrong"):
        assert_prints_what_it_says("wrong", page.format(3))


def test_every_public_name_is_in_the_api_once(root_directory):
    pages = "".join(page.read_text() for page in (root_directory / "docs/api").glob("*.md"))
    documented = re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE)
    assert len(documented) == len(set(documented))
    modules = ("bounds", "hard_instances")
    public = [f"jaxbandit.{name}" for name in jb.__all__ if name not in modules]
    public += [f"jaxbandit.bounds.{name}" for name in jb.bounds.__all__]
    assert set(public) <= set(documented)


def test_every_page_is_in_the_navigation(root_directory):
    listed = set(re.findall(r"[\w/-]+\.md", (root_directory / "mkdocs.yml").read_text()))
    docs = root_directory / "docs"
    assert listed == {str(page.relative_to(docs)) for page in docs.rglob("*.md")}
