"""The command line with blocks so small that a tiny study has many: `python -m ...small_blocks`."""

from jaxbandit import cli
from jaxbandit.studies.sweeps import layout
from tests.studies.sweeps.stores import WORK

layout._WORK = WORK
cli.main()
