"""The interface of every authorizer, those that need no file, and what keeps all of them failing closed."""

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
    """Decides who may register, and who may open which session.

    The proxy calls it in the greenlet of the request, many at once: a method may block that greenlet, not the hub.
    A method that raises denies (see FailClosed).
    """

    @abstractmethod
    def connect(self, request: ConnectionRequest) -> Decision:
        """May this session be opened?"""

    def register(self, request: RegistrationRequest) -> Decision:
        """May this agent register? Anyone, unless a subclass says otherwise."""
        return granted()

    def resume(self, request: ConnectionRequest) -> Decision:
        """May this session go on after it lost its link? As if it were new, unless a subclass says otherwise."""
        return self.connect(request)

    # These do nothing unless a subclass has something to do.

    def event(self, event: Mapping[str, object]) -> None:  # noqa: B027
        """Is told what happened: names to texts, numbers, booleans, or tables and lists of those. Never raises."""

    def reload(self) -> None:  # noqa: B027
        """Reads its configuration again. Raises UsageError, and stays as it was, if that does not load."""

    def reload_if_changed(self) -> bool:
        """Reloads if the configuration has changed since; True if now another one is in force. Never raises."""
        return False


class GrantAll(Authorizer):
    """Lets everyone do everything."""

    def connect(self, request: ConnectionRequest) -> Decision:
        return granted()


class DenyAll(Authorizer):
    """Lets everyone register, and nobody open a session, as the original's -authdeny."""

    def connect(self, request: ConnectionRequest) -> Decision:
        return denied("all sessions are denied")


class FunctionPolicy(Authorizer):
    """A plain function, for programs that embed the proxy: it returns a Decision, or True or False."""

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
    raise TypeError(f"the function returned a {type(answer).__name__}: return a Decision, True or False")


class Wrapper(Authorizer):
    """Hands everything on to another authorizer; subclasses change what they are about."""

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
    """An authorizer whose exceptions, and answers that are no Decision, deny; their detail is logged."""

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
            logger.exception("the authorizer raised on an event")


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
    """An instance of the user's own subclass of Authorizer, named "package.module:Class".

    Modules are also looked for in the working directory. Raises UsageError.
    """
    module_name, colon, class_name = reference.partition(":")
    if not (module_name and colon and class_name):
        raise UsageError(f'cannot load an authorizer from "{reference}": write it as package.module:Class')
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
    except Exception as error:  # the user's code: whatever it raises, the proxy does not start
        raise UsageError(f"cannot load {reference}: {type(error).__name__}: {error}") from error
