"""The authorizer that applies a file of identities and rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from hubble.policy.authorizer import Authorizer
from hubble.policy.keys import KeyHash
from hubble.policy.request import ConnectionRequest, Decision, RegistrationRequest, busy, denied, granted
from hubble.policy.rulesfile import Identity, Rules, SessionRule, parse
from hubble.policy.verifier import KeyVerifier, Overload
from hubble.policy.watched import WatchedFile

Verify = Callable[[Sequence[KeyHash], str, str], bool]


class RulesPolicy(Authorizer):
    """Decides on registrations by hashed keys and certificates, and on sessions by the first matching rule.

    Everything else is denied. Decision.detail names the rule. The workers share verified keys in `runtime_dir`. Raises
    UsageError for a file that is unreadable or invalid.
    """

    def __init__(self, path: Path | str, runtime_dir: Path | None = None) -> None:
        self._path = Path(path)
        self._rules = Rules()
        self._verifier = KeyVerifier(runtime_dir)
        self._file = WatchedFile(self._path, "rules", self._load)

    def register(self, request: RegistrationRequest) -> Decision:
        candidates = [identity for identity in self._rules.identities if identity.gateways.match(request.name)]
        try:
            for verify in (self._verifier.recognizes, self._verifier.verify):  # the cheap check first
                for identity in candidates:
                    if _proves(identity, request, verify):
                        return granted(f'"{identity.name}" may register "{request.name}"', identity=identity.name)
        except Overload as overload:
            return busy(str(overload))
        if candidates:
            return denied(f'neither the key nor the certificate proves an identity that may register "{request.name}"')
        return denied(f'no identity may register "{request.name}"')

    def connect(self, request: ConnectionRequest) -> Decision:
        target = f'to reach gateway "{request.gateway}" at {request.host}:{request.port}'
        if request.identity and not any(known.name == request.identity for known in self._rules.identities):
            return denied(f'the identity "{request.identity}" was removed from the file')
        try:
            for rule in self._rules.rules:
                if self._matches(rule, request):
                    verb = "allows" if rule.allow else "denies"
                    detail = f'{rule.title} {verb} "{request.identity}" {target}'
                    return granted(detail) if rule.allow else denied(detail)
        except Overload as overload:
            return busy(str(overload))
        return denied(f'no rule allows "{request.identity}" {target}')

    def reload(self) -> None:
        self._file.reload()

    def reload_if_changed(self) -> bool:
        return self._file.reload_if_changed()

    def _load(self, contents: bytes) -> None:
        self._rules = parse(contents, str(self._path))

    def _matches(self, rule: SessionRule, request: ConnectionRequest) -> bool:
        return (
            rule.identities.match(request.identity)
            and rule.sources.match(request.source)
            and rule.gateways.match(request.gateway)
            and rule.hosts.match(request.host, tunnels=not rule.allow)
            and rule.ports.match(request.port)
            and (not rule.keys or self._verifier.verify(rule.keys, request.key, request.source_ip))
        )


def _proves(identity: Identity, request: RegistrationRequest, verify: Verify) -> bool:
    certificate = identity.certificate
    if certificate is not None and not (request.certificate_subject and certificate.match(request.certificate_subject)):
        return False
    return not identity.keys or verify(identity.keys, request.key, request.address)
