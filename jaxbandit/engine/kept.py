"""What a process keeps of what it compiled.

Programs are known by functions and shapes. Of functions that nobody else has, such as a lambda of a
call that has ended, nothing is kept; of others, the programs that were used last.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from threading import RLock, local
from types import MethodType
from typing import Any, Generic, NamedTuple, TypeVar

import jax
from jax.tree_util import PyTreeDef

Value = TypeVar("Value")


class Kind(NamedTuple):
    """What a program is for."""

    name: Hashable
    """Equal for equal kinds, as long as `objects` live; has none of them in it."""
    objects: tuple[Any, ...]
    """Functions, and whatever is equal to nothing but itself."""


class Kept(Generic[Value]):
    """The values of the kinds that were used last; safe to use from several threads.

    A value is dropped with any of the objects of its kind, so it must not refer to them.
    """

    def __init__(self, most: int) -> None:
        """At most so many."""
        self._most = most
        self._values: OrderedDict[Hashable, tuple[Value, list[Any]]] = OrderedDict()
        self._lock = RLock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, kind: Kind) -> Value | None:
        """The value of a kind, if there still is one."""
        with self._lock:
            if kind.name not in self._values:
                return None
            self._values.move_to_end(kind.name)
            return self._values[kind.name][0]

    def put(self, kind: Kind, value: Value) -> None:
        """Keep a value, in place of the one that was used longest ago."""

        def drop(_: Any) -> None:
            self._values.pop(kind.name, None)

        # `drop` refers to the name alone.
        kind, objects = kind._replace(objects=()), kind.objects
        with self._lock:
            self._values[kind.name] = value, [weakref.ref(one, drop) for one in objects]
            self._values.move_to_end(kind.name)
            while len(self._values) > self._most:
                self._values.popitem(last=False)


def kind_of(*parts: Any) -> Kind:
    """The kind of programs that are compiled for tuples of functions, structures and values.

    Raises:
        TypeError: something cannot be hashed.
    """
    objects: list[Any] = []
    name = tuple(_name(part, objects) for part in parts)
    hash(name)
    return Kind(name, tuple(objects))


def _name(part: Any, objects: list[Any]) -> Hashable:
    if isinstance(part, tuple | list):
        return type(part), *(_name(entry, objects) for entry in part)
    if isinstance(part, PyTreeDef):
        # The functions of a user's own class of pytree are in its structure.
        children = (_name(child, objects) for child in part.children())
        return _name(part.node_data(), objects), *children
    if isinstance(part, MethodType):  # A new object each time that it is asked for.
        return MethodType, _name(part.__func__, objects), _identity(part.__self__, objects)
    if type(part).__eq__ is object.__eq__:
        return _identity(part, objects)
    return type(part), part


def _identity(part: Any, objects: list[Any]) -> Hashable:
    try:
        weakref.ref(part)
    except TypeError:  # Few classes of C or with slots, which are then kept alive.
        return type(part), part
    objects.append(part)
    return id(part)


class Compiled:
    """A function that JAX compiles, and that refers to what it is made of only during a call.

    What `jax.jit` is given, as a static argument or in a closure, lives as long as its programs.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        """`function(made_of, *operands)`, and options of `jax.jit`; one program in all.

        `made_of` is any object, the same in all calls as far as the function can tell.
        """
        lent = self._lent = local()
        self._jitted = jax.jit(lambda *operands: function(lent.made_of, *operands), **options)

    def __call__(self, made_of: Any, *operands: Any) -> Any:
        """What the function gives of arrays."""
        with self._lending(made_of):
            return self._jitted(*operands)

    def lower(self, made_of: Any, *operands: Any) -> Any:
        """As the method of what `jax.jit` gives."""
        with self._lending(made_of):
            return self._jitted.lower(*operands)

    @contextmanager
    def _lending(self, made_of: Any) -> Generator[None]:
        before = getattr(self._lent, "made_of", None)
        self._lent.made_of = made_of
        try:
            yield
        finally:
            self._lent.made_of = before
