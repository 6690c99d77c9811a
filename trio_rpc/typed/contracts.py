"""Contracts: classes whose methods are those of a callee (rule T13)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from .codec import Codec
from .signatures import Signature, signature_of


class Contracts:
    """The signatures of the methods of contracts, by their functions."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._signatures: WeakKeyDictionary[Callable[..., Any], Signature] = WeakKeyDictionary()

    def signature(self, function: Callable[..., Any]) -> Signature:
        """Return the signature of a method of a contract.

        Raises:
            TypeError: it is no method of a class, or cannot be called with JSON.
        """
        if not inspect.isfunction(function):
            raise TypeError(f"a method of a contract is wanted, as Kitchen.slice: {function!r}")
        signature = self._signatures.get(function)
        if signature is None:
            signature = self._signatures[function] = self._read(function)
        return signature

    def _read(self, function: FunctionType) -> Signature:
        if next(iter(inspect.signature(function).parameters), "") != "self":
            raise TypeError(
                f"the first parameter of {function.__qualname__!r} is not self: a method of a "
                "contract is wanted, as Kitchen.slice"
            )
        name = function.__name__
        signature = signature_of(function, name, self._codec, has_self=True)
        if not signature.is_async:
            raise TypeError(f"method {name!r} of a contract has to be an `async def`, or to stream")
        return signature

    def methods_of(self, contract: Any) -> dict[str, Callable[..., Any]]:
        """Return the methods of a contract, by name.

        Raises:
            TypeError: it is no class with public methods, or one of these cannot be called.
        """
        if not isinstance(contract, type):
            raise TypeError(f"a contract is a class, such as a Protocol, not {contract!r}")
        methods: dict[str, Callable[..., Any]] = {
            name: function
            for name in dir(contract)
            if not name.startswith("_") and inspect.isfunction(function := getattr(contract, name))
        }
        if not methods:
            raise TypeError(f"the contract {contract.__name__} has no public methods")
        for function in methods.values():
            self.signature(function)
        return methods


class Client:
    """The methods of a contract as those of an object, which call them."""

    def __init__(self, contract: str, identity: str, methods: dict[str, partial[Any]]) -> None:
        self.__dict__.update(methods)
        self._description = f"<client {contract} of {identity!r}>"

    def __repr__(self) -> str:
        return self._description
