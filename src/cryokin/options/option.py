"""What an option is: type, default, unit, range, meaning, and the flag it stands for.

A method's options are a frozen dataclass whose fields are made by `option`. The check
of a configuration, its JSON schema, the tables of ``config/README.md`` and those of the
reports are all made of these fields. Nothing but the standard library is needed, so
that Snakemake can read a configuration where it stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Self,
    get_args,
    get_origin,
    get_type_hints,
)

#: A value with keys of its own, such as ``{sphere: {radius: 12}}``.
Mapped = Mapping[str, Any]

_JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}
_JSON_TYPES |= {NoneType: "null", Mapped: "object"}


@dataclass(frozen=True)
class Option:
    """One option.

    Attributes
    ----------
    meaning : str
        Begins with a small letter and ends without a full stop.
    default : Any
        ``MISSING`` if it must be given.
    unit : str
        Empty if it has none.
    was : str
        What the option stands for in the older program.
    at_least, above, at_most, below : float or None
        Bounds of a number.
    pattern : str
        Regular expression of a text.
    word : str
        What may stand in the place of a number.
    unless : str
        The option that may be given in its place; it is None then.
    examples : sequence of str
        Values as they are written, where a type says too little.
    shape : mapping or None
        JSON schema of a value with keys of its own.
    hint : Any
        Its type.
    """

    meaning: str
    default: Any = MISSING
    unit: str = ""
    was: str = ""
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    pattern: str = ""
    word: str = ""
    unless: str = ""
    examples: tuple[str, ...] = ()
    shape: Mapped | None = None
    hint: Any = None

    @property
    def needed(self) -> bool:
        """Whether it, or what may be given in its place, must be given."""
        return self.default is MISSING

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values it may have, where they are few."""
        return get_args(self.hint) if get_origin(self.hint) is Literal else ()

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of its values."""
        told = {"description": self.meaning, "unit": self.unit, "was": self.was}
        made: dict[str, Any] = {key: text for key, text in told.items() if text}
        if self.choices:
            made["enum"] = list(self.choices)
        else:
            parts = get_args(self.hint) or (self.hint,)
            types = [_JSON_TYPES[part] for part in parts if part in _JSON_TYPES]
            types += ["string"] if self.word else []
            made["type"] = types if len(types) > 1 else types[0]
            if "object" in types:
                made |= {"additionalProperties": False, **(self.shape or {})}
            if "string" in types:
                pattern = f"^{self.word}$" if self.word else self.pattern
                made |= {"pattern": pattern} if pattern else {"minLength": 1}
        bounds = {
            "minimum": self.at_least,
            "exclusiveMinimum": self.above,
            "maximum": self.at_most,
            "exclusiveMaximum": self.below,
        }
        made |= {key: bound for key, bound in bounds.items() if bound is not None}
        if self.examples:
            made["examples"] = list(self.examples)
        if not self.needed:
            made["default"] = self.default
        return made


def option(default: Any = MISSING, /, **told: Any) -> Any:
    """Return the field of an option; see `Option` for what is told of it.

    The field itself has no default: options that a step is not given are missing, and
    do not silently have another value than the run.
    """
    return field(metadata={"option": (default, told)})


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of a run."""

    method: str = option(meaning="the method of the run")

    if TYPE_CHECKING:  # what all methods have; each says what it means
        particles: str = option()
        rand_seed: int | None = option()
        select: Mapped | None = option()
        selection: str | None = option()

    @classmethod
    def some(cls, values: Mapping[str, Any]) -> Self:
        """Return options of which a step is given some; others have no attribute."""
        made = object.__new__(cls)
        made.__dict__.update(values)
        return made

    def as_dict(self) -> dict[str, Any]:
        """Return names and values, in the order of the class."""
        return dict(vars(self))

    if not TYPE_CHECKING:  # to which a wrong name is one

        def __getattr__(self, name: str) -> Any:
            raise AttributeError(
                f"the option {name} was not handed over, its rule must name it"
            )


def options_of(kind: type[Options]) -> dict[str, Option]:
    """Return the options of a method by name, in the order of its class."""
    hints = get_type_hints(kind)
    made = {}
    for each in fields(kind):
        default, told = each.metadata["option"]
        made[each.name] = Option(default=default, hint=hints[each.name], **told)
    return made
