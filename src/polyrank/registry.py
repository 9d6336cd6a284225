"""Tables of named methods, loaded on first use and built with their options.

Each kind of method (aggregators, allocators, ...) has one ``Registry``. An entry is a name and
the place of a callable, ``"package.module:attribute"``; nothing is imported until the
entry is asked for, so that settings can be checked without importing torch. Installed
packages add entries through entry points of the group ``polyrank.<plural>``. A callable's
options are its keyword-only parameters, or the fields of the dataclass: the settings
file, the command line and the documentation all read them from there.
"""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast, get_type_hints

import pydantic

from polyrank.errors import SettingsError, UnknownNameError, nearest

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Method(Protocol):
    """A method as settings name it."""

    @property
    def kind(self) -> str:
        """Its name in the table, or ``"package.module:attribute"``."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Its options by name."""
        ...


@dataclass(frozen=True)
class Named:
    """A method that is named outside of settings."""

    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """The callable of an entry, and the options it was asked for with.

    Args:
        where: what errors call it, such as ``"aggregator 'rbla'"``.
        own: whether the entry is one of ours.
        target: the callable.
        options: as they were given.
    """

    where: str
    own: bool
    target: Callable[..., Any]
    options: Mapping[str, Any]

    def bound(self) -> Callable[..., Any]:
        """Return an instance if the entry is a class, else the function with its options bound.

        Raises:
            SettingsError: an option is unknown, missing or of the wrong type.
        """
        options = check_options(self.target, self.options, self.where)
        if inspect.isclass(self.target):
            return cast(Callable[..., Any], self.target(**options))
        return partial(self.target, **options) if options else self.target

    def made(self, *kinds: type[T]) -> T:
        """Call the entry with its options, and return what it gives if it is of these types.

        Raises:
            SettingsError: an option does not fit, or something else came back.
        """
        made = self.bound()()
        if not isinstance(made, kinds):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            raise SettingsError(f"{self.where}: expected {wanted}, got {type(made).__name__}")
        return made


@dataclass(frozen=True)
class Registry(Generic[T_co]):
    """Named methods of one kind; ``build`` makes one of them with its options.

    Args:
        kind: what an entry is called in messages, such as ``"aggregator"``.
        own: name -> ``"package.module:attribute"``.
        group: of the entry points by which other packages add theirs.
        make: how an entry with its options becomes what a run uses.
    """

    kind: str
    own: Mapping[str, str]
    group: str
    make: Callable[[Found], T_co]

    @cached_property
    def entries(self) -> Mapping[str, str]:
        """Our entries and those of installed packages; a name of ours cannot be taken."""
        added = {point.name: point.value for point in entry_points(group=self.group)}
        return {**added, **self.own}

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def check(self, name: str) -> None:
        """Raise UnknownNameError unless ``name`` is an entry or a ``package.module:attribute``."""
        if name not in self.own and ":" not in name and name not in self.entries:
            raise UnknownNameError(
                f"unknown {self.kind} {name!r}{nearest(name, self.entries)}: expected one of "
                f"{', '.join(self.entries)}, or 'package.module:attribute' of your own"
            )

    def load(self, name: str) -> Callable[..., Any]:
        """Import the entry ``name``; one's own ``package.module:attribute`` works as well.

        Raises:
            UnknownNameError: no such entry, module or attribute.
        """
        self.check(name)
        place = self.own.get(name) or (name if ":" in name else self.entries[name])
        module_name, _, attribute = place.partition(":")
        if name not in self.own and str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            found: Any = importlib.import_module(module_name)
            for part in attribute.split("."):
                found = getattr(found, part)
        except ModuleNotFoundError as error:
            if error.name != module_name.split(".")[0] and error.name != module_name:
                raise
            raise UnknownNameError(
                f"{self.kind} {name!r}: there is no module {error.name!r} to import"
            ) from error
        except AttributeError as error:
            raise UnknownNameError(
                f"{self.kind} {name!r}: module {module_name!r} has no {attribute!r}"
            ) from error
        if not callable(found):
            raise UnknownNameError(f"{self.kind} {name!r}: {attribute!r} cannot be called")
        return cast(Callable[..., Any], found)

    def build(self, method: Method | str, shown: str | None = None) -> T_co:
        """Make a method with its options, which are checked by name and type.

        Args:
            method: such as ``settings.aggregator``, ``Named("florist", {"tau": 0.8})``, or the
                name alone of one without options.
            shown: what errors call it, where the user has written more than the name.

        Raises:
            UnknownNameError: no such method.
            SettingsError: an option is unknown, missing or of the wrong type.
        """
        named = Named(method) if isinstance(method, str) else method
        where = f"{self.kind} {(shown or named.kind)!r}"
        own = named.kind in self.own
        return self.make(Found(where, own, self.load(named.kind), named.options))


def name_of(target: Callable[..., Any]) -> str:
    """Return the ``package.module:attribute`` by which a function of one's own is found again.

    Raises:
        SettingsError: it has no such name, as a lambda or a function inside a function.
    """
    module, attribute = getattr(target, "__module__", None), getattr(target, "__qualname__", "")
    if not module or not attribute or "<" in attribute:
        raise SettingsError(
            f"{target!r} cannot be named in the settings: expected a function or class at the top "
            f"of a module, which worker processes and a resumed run can import"
        )
    return f"{module}:{attribute}"


def option_parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of ``target`` that a settings file may give."""
    parameters = inspect.signature(target).parameters.values()
    wanted = (
        (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        if inspect.isclass(target)
        else (inspect.Parameter.KEYWORD_ONLY,)
    )
    return {p.name: p for p in parameters if p.kind in wanted}


def check_options(
    target: Callable[..., Any], options: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Check options against the signature of ``target`` and return them converted.

    Raises:
        SettingsError: an option is unknown, missing or of the wrong type.
    """
    known = option_parameters(target)
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    checked: dict[str, Any] = {}
    for name, value in options.items():
        if name not in known:
            allowed = ", ".join(known) if known else "none: it has no options"
            raise SettingsError(
                f"{where}: unknown option {name!r}{nearest(name, known)}; allowed: {allowed}"
            )
        adapter = pydantic.TypeAdapter(hints.get(name, Any))
        try:
            checked[name] = adapter.validate_python(value)
        except pydantic.ValidationError as error:
            said = error.errors()[0]["msg"]
            raise SettingsError(f"{where}: option {name} = {value!r}: {said}") from error
    missing = [n for n, p in known.items() if p.default is p.empty and n not in checked]
    if missing:
        raise SettingsError(f"{where}: option {missing[0]!r} is required and was not given")
    return checked
