"""The interface of every authorizer, authorizers that need no file, and the wrapper that fails closed."""

from __future__ import annotations

import importlib
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from hubble.base.errors import UsageError
from hubble.policy.digest import without_key
from hubble.policy.request import ConnectionRequest, Decision, RegistrationRequest, denied, failed, granted

logger = logging.getLogger("hubble.policy")

AnyRequest = TypeVar("AnyRequest", ConnectionRequest, RegistrationRequest)


class Authorizer(ABC):
    """Decides which agents may register, and which sessions they may open.

    The proxy calls a method in the greenlet of the request, many at once. It may block that greenlet, but not the hub.
    A method that raises denies (see FailClosed).
    """

    @abstractmethod
    def connect(self, request: ConnectionRequest) -> Decision:
        """Decide whether a session may open."""

    def register(self, request: RegistrationRequest) -> Decision:
        """Decide whether an agent may register. By default, every agent may."""
        return granted()

    def resume(self, request: ConnectionRequest) -> Decision:
        """Decide whether a session may resume after it lost its link. By default, as for a new session."""
        return self.connect(request)

    # Optional methods.

    def event(self, event: Mapping[str, object]) -> None:  # noqa: B027
        """Handle an event: names to texts, numbers, booleans, or tables and lists of these. Never raises."""

    def reload(self) -> None:  # noqa: B027
        """Reload the configuration. Raises UsageError if it is invalid, and keeps the previous one."""

    def reload_if_changed(self) -> bool:
        """Reload the configuration if it changed. Return whether another one is in force. Never raises."""
        return False


class GrantAll(Authorizer):
    """Allows everything."""

    def connect(self, request: ConnectionRequest) -> Decision:
        return granted()


class DenyAll(Authorizer):
    """Allows every registration and denies every session, like -authdeny of the original."""

    def connect(self, request: ConnectionRequest) -> Decision:
        return denied("all sessions are denied")


class FunctionPolicy(Authorizer):
    """Wraps a function that returns a Decision, True or False, for programs that embed the proxy."""

    def __init__(
        self,
        connect: Callable[[ConnectionRequest], Decision | bool],
        register: Callable[[RegistrationRequest], Decision | bool] | None = None,
    ) -> None:
        self._connect = connect
        self._register = register

    def connect(self, request: ConnectionRequest) -> Decision:
        return _decision(self._connect(request))

    def register(self, request: RegistrationRequest) -> Decision:
        return granted() if self._register is None else _decision(self._register(request))


def _decision(answer: Decision | bool) -> Decision:
    if isinstance(answer, Decision):
        return answer
    if answer is True:
        return granted()
    if answer is False:
        return denied()
    raise TypeError(f"the function returned a {type(answer).__name__}; return a Decision, True or False")


class Wrapper(Authorizer):
    """Forwards every call to another authorizer; subclasses override single methods."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def connect(self, request: ConnectionRequest) -> Decision:
        return self._authorizer.connect(request)

    def register(self, request: RegistrationRequest) -> Decision:
        return self._authorizer.register(request)

    def resume(self, request: ConnectionRequest) -> Decision:
        return self._authorizer.resume(request)

    def event(self, event: Mapping[str, object]) -> None:
        self._authorizer.event(event)

    def reload(self) -> None:
        self._authorizer.reload()

    def reload_if_changed(self) -> bool:
        return self._authorizer.reload_if_changed()


class FailClosed(Wrapper):
    """Denies if another authorizer raises or does not return a Decision, and logs the reason."""

    def connect(self, request: ConnectionRequest) -> Decision:
        return _closed(self._authorizer.connect, request, request.key)

    def register(self, request: RegistrationRequest) -> Decision:
        return _closed(self._authorizer.register, request, request.key)

    def resume(self, request: ConnectionRequest) -> Decision:
        return _closed(self._authorizer.resume, request, request.key)

    def event(self, event: Mapping[str, object]) -> None:
        try:
            self._authorizer.event(event)
        except Exception:
            logger.exception("the authorizer failed to handle an event")


def _closed(method: Callable[[AnyRequest], Decision], request: AnyRequest, key: str) -> Decision:
    try:
        decision: object = method(request)
        if isinstance(decision, Decision):
            return decision
        detail = f"{method.__qualname__} returned a {type(decision).__name__}, not a Decision"
    except Exception as error:
        detail = without_key(f"{type(error).__name__}: {error}", key)
    logger.error("authorization failed: %s", detail)
    return failed(detail)


def load_python_authorizer(reference: str) -> Authorizer:
    """Return an instance of the user's subclass of Authorizer, named "package.module:Class".

    The working directory is searched for modules as well. Raises UsageError.
    """
    module_name, colon, class_name = reference.partition(":")
    if not (module_name and colon and class_name):
        raise UsageError(f'cannot load an authorizer from "{reference}"; write package.module:Class')
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.append(directory)
    try:
        found = getattr(importlib.import_module(module_name), class_name, None)
        if not (isinstance(found, type) and issubclass(found, Authorizer)):
            raise UsageError(f"cannot load {reference}: it is not a subclass of hubble.policy.Authorizer")
        return found()
    except UsageError:
        raise
    except Exception as error:  # the user's code can raise anything
        raise UsageError(f"cannot load {reference}: {type(error).__name__}: {error}") from error
