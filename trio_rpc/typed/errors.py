"""The errors of typed calls, and errors that travel as classes (rules T2, T3)."""

from __future__ import annotations

import inspect
from typing import Any, Final, TypeVar, cast, get_type_hints

import attrs
import msgspec

from ..errors import RpcError
from ..protocol.limits import MAX_PAYLOAD_BYTES, utf8_length
from ..protocol.logs import peer_logger
from .codec import Codec

logger = peer_logger(__name__)

#: The code of `InvalidArguments`.
INVALID_ARGUMENTS: Final = 7422
#: The code of `InvalidResponse`, which does not travel.
INVALID_RESPONSE: Final = 7423
_RESERVED: Final = range(1001, 2000)

E = TypeVar("E", bound=Exception)


class _Details(msgspec.Struct):
    """The `data` of the errors of typed calls."""

    method: str = ""
    path: str = "$"
    expected: str = ""


class _MisfitError(RpcError):
    """The common part of the errors of typed calls."""

    _CODE: int
    _MESSAGE: str

    def __init__(self, method: str, path: str, expected: str) -> None:
        self._details = _Details(method, path, expected)
        super().__init__(self._CODE, self._MESSAGE, msgspec.json.encode(self._details).decode())

    @property
    def method(self) -> str:
        """The name of the method."""
        return self._details.method

    @property
    def path(self) -> str:
        """The place of the mistake in the JSON, such as `$.order.length_mm`."""
        return self._details.path

    @property
    def expected(self) -> str:
        """The mistake, for people."""
        return self._details.expected


class InvalidArguments(_MisfitError):  # noqa: N818
    """The arguments of a call do not fit the method (T2); the handler has not run."""

    _CODE = INVALID_ARGUMENTS
    _MESSAGE = "Invalid arguments"

    @classmethod
    def of(cls, error: RpcError) -> InvalidArguments:
        """Return the error that a callee sent."""
        try:
            details = msgspec.json.decode(error.data or "{}", type=_Details)
        except msgspec.DecodeError:
            details = _Details(expected=error.data or "")
        return cls(details.method, details.path, details.expected)


class InvalidResponse(_MisfitError):  # noqa: N818
    """The answer to a call does not fit the contract of the caller (T2)."""

    _CODE = INVALID_RESPONSE
    _MESSAGE = "Invalid response"


def _check_class(error_class: object) -> None:
    is_exception = isinstance(error_class, type) and issubclass(error_class, Exception)
    if not is_exception or not attrs.has(cast("type", error_class)):
        raise TypeError(f"an exception made with attrs is wanted, not {error_class!r}")
    if issubclass(cast("type", error_class), RpcError):
        raise TypeError(f"{error_class!r} is an RpcError, which travels as it is")


@attrs.frozen
class _Travelling:
    """A class of exceptions that travels.

    A codec sees neither the class nor its exceptions, but another class with the same fields: other
    attributes of an exception, which a program may set, are not for others, and a codec that
    makes an instance without calling the class makes no exception.

    Attributes:
        error_class: The class.
        code: Its code.
        record: The class with the same fields.
    """

    error_class: type[Exception]
    code: int
    record: type

    @classmethod
    def of(cls, error_class: type[Exception], code: int) -> _Travelling:
        """Return what there is to know of a class.

        Raises:
            TypeError: an annotation cannot be read, or it is not made from its fields.
        """
        fields = _fields_of(error_class)
        hints = get_type_hints(error_class, include_extras=True)
        inspect.signature(error_class).bind(**{_argument(each): None for each in fields})
        record = attrs.make_class(
            error_class.__name__,
            {
                _argument(each): attrs.field(default=each.default, type=hints[each.name])
                for each in fields
            },
            kw_only=True,
        )
        return cls(error_class, code, record)

    def dumps(self, codec: Codec, error: BaseException) -> str:
        fields = _fields_of(self.error_class)
        values = {_argument(each): getattr(error, each.name) for each in fields}
        return codec.dumps(self.record(**values))

    def loads(self, codec: Codec, data: str) -> Exception:
        """Return the exception that was sent.

        Raises:
            Exception: it does not fit, or the class refuses it.
        """
        record = codec.loads(self.record, data)
        names = [_argument(each) for each in _fields_of(self.error_class)]
        return self.error_class(**{name: getattr(record, name) for name in names})


def _fields_of(error_class: type) -> list[attrs.Attribute[Any]]:
    """Return the fields of a class that it takes when it is made."""
    return [each for each in attrs.fields(error_class) if each.init]


def _argument(attribute: attrs.Attribute[Any]) -> str:
    return attribute.alias or attribute.name


class ErrorRegistry:
    """The exceptions of a program that travel between participants, by their codes (T3)."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._by_code: dict[int, _Travelling] = {}
        self._by_class: dict[type[BaseException], _Travelling] = {}

    def register(self, error_class: type[E], *, code: int) -> type[E]:
        """Have a class of exceptions raised at the caller when a method of the callee raises it.

        Both sides register it, with the same code. Its fields travel as JSON.

        Args:
            error_class: An exception, made with `attrs`.
            code: The code, which is neither one of LiveKit's, from 1001 to 1999, nor one of ours.

        Raises:
            TypeError: it is not such a class, or has fields without a form in JSON.
            ValueError: the code is reserved or taken, or the class is registered already.
        """
        _check_class(error_class)
        RpcError(code, "")
        if code in _RESERVED or code in {INVALID_ARGUMENTS, INVALID_RESPONSE}:
            raise ValueError(f"the code {code} is reserved")
        if code in self._by_code or error_class in self._by_class:
            raise ValueError(f"{error_class.__name__} or the code {code} is registered already")
        try:
            travelling = _Travelling.of(error_class, code)
            self._codec.schema(travelling.record)
        except Exception as error:
            raise TypeError(
                f"a field of {error_class.__name__} has no form in JSON: {error}"
            ) from None
        self._by_code[code] = self._by_class[error_class] = travelling
        return error_class

    @property
    def travelling(self) -> tuple[type[Exception], ...]:
        """The classes of the exceptions that a call may raise: `RpcError`, and those registered."""
        return (RpcError, *(each.error_class for each in self._by_code.values()))

    def to_rpc(self, error: BaseException) -> RpcError | None:
        """Return the error that tells a caller of an exception; None for an unknown class."""
        for each in type(error).__mro__:
            if (travelling := self._by_class.get(each)) is not None:
                data = travelling.dumps(self._codec, error)
                if (size := utf8_length(data)) > MAX_PAYLOAD_BYTES:
                    name = each.__name__
                    logger.error("%s has %d bytes, over the limit of an error", name, size)
                    return None
                return RpcError(travelling.code, each.__name__, data)
        return None

    def from_rpc(self, error: RpcError) -> Exception:
        """Return the exception that a caller gets for an error."""
        if error.code == INVALID_ARGUMENTS:
            return InvalidArguments.of(error)
        travelling = self._by_code.get(error.code)
        if travelling is None or error.data is None:
            return error
        try:
            return travelling.loads(self._codec, error.data)
        except Exception as failure:
            logger.debug("the data of an error %d does not fit: %s", error.code, failure)
            return error
