"""TLS for the dialing side: trusted certificates, the client certificate, and pins."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import logging
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from gevent import ssl as gevent_ssl

from hubble.base.errors import DialError, UsageError
from hubble.transport.addresses import Socket
from hubble.transport.tlsfaults import explain, file_fault
from hubble.transport.tlssocket import TLSSocket

log = logging.getLogger(__name__)


class TLSFailed(DialError):
    """The TLS handshake failed, or the certificate of the other side was not accepted."""


@dataclass(frozen=True)
class TLSOptions:
    """The trusted certificates and the client certificate of a dialer.

    `ca_file`: PEM, trusted *instead of* the system's certificates. `cert_file`, `key_file`: PEM, the client certificate
    and its key, possibly in one file. `server_name`: the name that the server's certificate must have, if not the
    URL's host. `pins`: `sha256:` and the base64 or hex hash of a public key (SubjectPublicKeyInfo); the server must
    have one of them, besides a valid certificate. `insecure`: accept any certificate; pins are still checked. Raises
    `UsageError` for an invalid pin.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None
    pins: tuple[str, ...] = ()
    insecure: bool = False
    digests: frozenset[bytes] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digests", frozenset(_pin_digest(pin) for pin in self.pins))
        if self.key_file is not None and self.cert_file is None:
            raise UsageError(f"the key {self.key_file!r} needs its certificate; give --cert as well")


def client_context(options: TLSOptions) -> ssl.SSLContext:
    """Return a context for dialing: TLS 1.2 or later, Python's ciphers. Raises `UsageError` for unusable files."""
    context: ssl.SSLContext = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    harden(context)
    if options.ca_file is not None:
        load_ca(context, options.ca_file)
    else:
        context.load_default_certs()
    if options.cert_file is not None:
        load_cert(context, options.cert_file, options.key_file)
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def outproxy_context(options: TLSOptions) -> ssl.SSLContext:
    """Return a context for TLS to an HTTP proxy: it trusts the system's certificates and the `ca_file`.

    Pins and the client certificate apply to the Hubble proxy only.
    """
    context = client_context(TLSOptions(insecure=options.insecure))
    if options.ca_file is not None:
        load_ca(context, options.ca_file)
    return context


def start_tls(sock: Socket, host: str, options: TLSOptions) -> Socket:
    """Start TLS with `host` over a connected socket, itself plain or TLS. The caller bounds the time.

    Raises `TLSFailed`, whose text is the end of a sentence, and `UsageError` for unusable files.
    """
    if options.insecure and not options.digests:
        log.warning("INSECURE: the certificate of %s is not checked; anyone on the path can read the traffic", host)
    wrapped = wrap(sock, options.server_name or host, client_context(options))
    try:
        _check_pins(wrapped, options.digests)
    except TLSFailed:
        wrapped.close()
        raise
    return wrapped


def wrap(sock: Socket, server_name: str, context: ssl.SSLContext) -> Socket:
    """Perform the handshake as the client. Raises `TLSFailed` after closing `sock`."""
    name = server_name.partition("%")[0]  # certificates do not contain zones of IPv6 addresses
    try:
        return shake_hands(context, sock, server_hostname=name)
    except OSError as error:
        raise TLSFailed(explain(error)) from error
    except ValueError as error:  # an invalid server name
        raise TLSFailed(f"TLS is not possible with the name {name!r}: {error}") from error


def public_key_digest(certificate: bytes) -> bytes:
    """Return the SHA-256 of a DER certificate's SubjectPublicKeyInfo, as in pins (RFC 7469, section 2.4)."""
    # This avoids the package `cryptography`. OpenSSL has already validated the form.
    fields = list(_elements(next(_elements(certificate))))
    has_version = fields[0][0] == 0xA0  # RFC 5280, section 4.1: version, serial, ..., subject, public key
    return hashlib.sha256(fields[6 if has_version else 5]).digest()


def harden(context: ssl.SSLContext) -> None:
    """Require TLS 1.2 or later, and disable renegotiation."""
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])  # the upgrade to WebSocket needs HTTP/1.1


def load_ca(context: ssl.SSLContext, ca_file: str) -> None:
    """Trust the certificates in a PEM file. Raises `UsageError`."""
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:
        raise UsageError(f"the CA file {ca_file!r} cannot be used: {file_fault(error)}") from error
    # A certificate in the user's file is trusted itself, even an intermediate or a server's own.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN


def load_cert(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    """Present a certificate with its key, both PEM, possibly in one file. Raises `UsageError`."""
    what = f"the certificate {cert_file!r}" + (f" with the key {key_file!r}" if key_file else "")
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except OSError as error:
        raise UsageError(f"{what} cannot be used: {file_fault(error)}") from error


def _no_passphrase() -> str:
    """Raise UsageError in place of OpenSSL's prompt, because a daemon has no terminal."""
    raise UsageError("a key with a passphrase cannot be used; remove the passphrase: openssl pkey -in KEY -out NEW")


def shake_hands(context: ssl.SSLContext, sock: Socket, **side: Any) -> Socket:
    """Return a TLS socket over `sock` after the handshake. Raises `OSError` after closing the socket."""
    try:
        wrapped = TLSSocket(sock, context, **side)
        wrapped.do_handshake()
    except BaseException:
        sock.close()
        raise
    return cast("Socket", wrapped)  # it has the methods of a socket that its users need


def _check_pins(sock: Socket, digests: frozenset[bytes]) -> None:
    if not digests:
        return
    found = public_key_digest(sock.getpeercert(binary_form=True))  # type: ignore[attr-defined]
    if not any(hmac.compare_digest(found, digest) for digest in digests):
        pin = "sha256:" + base64.b64encode(found).decode()
        raise TLSFailed(f"its public key is {pin}, which no --pin allows: was its key renewed on purpose?")


def _pin_digest(pin: str) -> bytes:
    algorithm, _, value = pin.partition(":")
    try:
        digest = bytes.fromhex(value) if len(value) == 64 else base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        digest = b""
    if algorithm.lower() != "sha256" or len(digest) != 32:
        raise UsageError(f"the pin {pin!r} is not sha256: and the SHA-256 of a public key in base64 or hex")
    return digest


def _elements(der: bytes) -> Iterator[bytes]:
    """Yield the DER elements, with headers, in the constructed element `der`."""
    at, end = _content(der, 0)
    while at < end:
        _, after = _content(der, at)
        yield der[at:after]
        at = after


def _content(der: bytes, at: int) -> tuple[int, int]:
    """Return the start and end of the content of the element at `at` (X.690, section 8.1.3)."""
    length, start = der[at + 1], at + 2
    if length >= 0x80:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start], "big")
    return start, start + length
