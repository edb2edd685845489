"""What a message says where a package of an extra is not installed."""


def install(extra: str) -> str:
    """The remedy: how the extra is installed."""
    return f'install the extra {extra!r}: pip install ".[{extra}]" in jaxbandit\'s source folder'
