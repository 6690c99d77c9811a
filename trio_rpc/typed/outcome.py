"""The outcome of a call as a value (rule T5)."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

from attrs import frozen

T = TypeVar("T")


@frozen
class Outcome(Generic[T]):
    """The outcome of a call: a value or an error.

    Attributes:
        error: The error; None if there is a value. An `RpcError`, or one of the program's classes
            that `room.errors` knows.
    """

    _value: T | None = None
    error: Exception | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.error is None

    @property
    def value(self) -> T:
        """The value.

        Raises:
            Exception: the call failed; it is `error`.
        """
        if self.error is not None:
            raise self.error
        return cast("T", self._value)
