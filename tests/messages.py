"""What every message to a user has to be."""

import pytest

import jaxbandit as jb


def assert_refused(call, message: str) -> None:
    """`call` raises an `InputError` of one line that matches `message`."""
    with pytest.raises(jb.InputError, match=message) as caught:
        call()
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)
