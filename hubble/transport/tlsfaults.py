"""Explain OpenSSL's errors in one line for a log."""

from __future__ import annotations

import ssl

from hubble.transport.addresses import reason

UNKNOWN_ISSUER = "its certificate comes from an unknown issuer: pass the issuer's certificate with -ca"

CERTIFICATE_FAULTS = dict.fromkeys((2, 19, 20, 21), UNKNOWN_ISSUER) | {
    9: "its certificate is not valid yet: is this machine's clock right?",
    10: "its certificate has expired: renew it there, unless this machine's clock is wrong",
    18: "its certificate is self-signed: pass that certificate with -ca, or pin its key with --pin and --insecure",
    23: "its certificate has been revoked: it needs a new one",
    26: "its certificate is not meant for a server",
    62: "its certificate is for another name: use the name it is for in the URL, or give it with --server-name",
    64: "its certificate is not for this address: use a name in the URL, or give one with --server-name",
    66: "the key of its certificate is too weak",
    67: "the key of its certificate's issuer is too weak",
    68: "its certificate is signed with too weak a hash",
}
"""Explanations of OpenSSL's verification results (X509_V_ERR_*)."""

NO_TLS = "it does not speak TLS there: are the scheme and the port of the URL right?"
NO_VERSION = "it has no TLS version or cipher in common with us: TLS 1.2 or later is needed"
CERTIFICATE_WANTED = "it requires a client certificate: pass one with --cert and --cert-key"
CERTIFICATE_REFUSED = "it does not accept our certificate"

HANDSHAKE_FAULTS = {
    "WRONG_VERSION_NUMBER": NO_TLS,
    "RECORD_LAYER_FAILURE": NO_TLS,
    "PACKET_LENGTH_TOO_LONG": NO_TLS,
    "HTTP_REQUEST": "it speaks HTTP without TLS",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": CERTIFICATE_WANTED,
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it presented no client certificate, but one is required",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refused the TLS handshake: "
    "no cipher in common, or it requires a client certificate (--cert and --cert-key)",
    "TLSV1_ALERT_UNKNOWN_CA": CERTIFICATE_REFUSED + ": it does not know the issuer",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": CERTIFICATE_REFUSED + ": it has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": CERTIFICATE_REFUSED + ": it has been revoked",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": CERTIFICATE_REFUSED,
    "SSLV3_ALERT_BAD_CERTIFICATE": CERTIFICATE_REFUSED,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": CERTIFICATE_REFUSED,
    "TLSV1_ALERT_PROTOCOL_VERSION": NO_VERSION,
    "TLSV1_ALERT_INSUFFICIENT_SECURITY": NO_VERSION,
    "UNSUPPORTED_PROTOCOL": NO_VERSION,
    "NO_SHARED_CIPHER": NO_VERSION,
    "TLSV1_UNRECOGNIZED_NAME": "it has no site of this name: see --server-name",
    "TLSV1_ALERT_INTERNAL_ERROR": "it failed: perhaps it has no certificate for this name, see --server-name",
    "UNEXPECTED_EOF_WHILE_READING": "it closed the connection: does it speak TLS there?",
}
"""Explanations of OpenSSL's handshake failures."""


def explain(error: OSError, server_side: bool = False) -> str:
    """Return the explanation of an error on a socket, with or without TLS, as the end of a sentence about the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        known = {} if server_side else CERTIFICATE_FAULTS
        return known.get(error.verify_code, f"its certificate is not accepted: {error.verify_message}")
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return HANDSHAKE_FAULTS["UNEXPECTED_EOF_WHILE_READING"]
    if isinstance(error, ssl.SSLError):
        fault = str(error.reason or error)
        return HANDSHAKE_FAULTS.get(fault, f"TLS failed: {fault.replace('_', ' ').lower()}")
    return reason(error)


def file_fault(error: OSError) -> str:
    """Return why a PEM file cannot be used, as the end of a sentence."""
    if not isinstance(error, ssl.SSLError):
        return reason(error)
    if error.reason == "KEY_VALUES_MISMATCH":
        return "the key belongs to another certificate"
    return "it is not PEM, or not what it should hold"
