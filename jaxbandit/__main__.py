"""`python -m jaxbandit`."""

from jaxbandit.cli import main

main()
