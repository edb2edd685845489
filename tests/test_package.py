"""Importing and documentation of the public names."""

import ast
import inspect
import itertools
import re
import subprocess
import sys

import jaxbandit as jb

HEAVY = [
    "polars",
    "matplotlib",
    "sklearn",
    "tyro",
    "rich",
    "pooch",
    "optax",
    "equinox",
    "scipy.sparse",
    "xarray",
    "zarr",
    "distributed",
    "platformdirs",
    "tomli_w",
]


def test_import_is_light(root_directory, environment):
    def loaded(imports):
        code = f"import sys\n{imports}\nprint(*[m for m in {HEAVY} if m in sys.modules])"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=root_directory,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return set(done.stdout.split())

    alone = loaded("import jax, jax.numpy, jax.scipy, numpy")
    assert loaded("import jaxbandit") <= alone


def test_what_is_listed_is_public():
    assert set(dir(jb)) == {*jb.__all__, "__version__"}


def public():
    """Every public name, and what it stands for."""
    for module in (jb, jb.bounds):
        yield from ((name, getattr(module, name)) for name in module.__all__)
    for name, value in vars(jb.hard_instances).items():
        own = getattr(value, "__module__", None) == jb.hard_instances.__name__
        if own and not name.startswith("_"):
            yield name, value


def undocumented(owner):
    """Fields, methods and properties of a class that say nothing of themselves."""
    body = ast.parse(inspect.getsource(owner)).body[0].body
    for statement, following in itertools.pairwise([*body, ast.Pass()]):
        if isinstance(statement, ast.FunctionDef):
            name, described = statement.name, ast.get_docstring(statement)
        elif isinstance(statement, ast.AnnAssign):
            name, described = statement.target.id, isinstance(following, ast.Expr)
        else:
            continue
        if not described and not name.startswith("_"):
            yield name


def test_public_names_are_documented():
    for name, value in public():
        own = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
        assert (own or "").strip(), name
        # A NamedTuple without words of its own says no more than its fields.
        assert not own.startswith(f"{name}("), name


def test_what_public_classes_have_is_documented():
    classes = {name: value for name, value in public() if inspect.isclass(value)}
    assert {"Moments", "OffPolicyDesign", "SimulationResult", "SuboptimalityBound"} <= set(classes)
    silent = {name: found for name, owner in classes.items() if (found := [*undocumented(owner)])}
    assert silent == {}


def test_the_readme_runs(root_directory):
    text = (root_directory / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 4
    code = re.sub(r"\bruns=[\d_]+", "runs=8", "".join(blocks))  # They only have to run.
    assert code.count("runs=8") == 3
    names = {"__name__": "readme"}
    exec(compile(code, "README.md", "exec"), names)
    assert names["out"]["oto"].regret.mean.shape == (4, 200)
    assert names["action"].shape == (10, 100)
