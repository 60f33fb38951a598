"""The texts in an Ack of protocol 0.1. Programs of 0.1 compare them, so they must not change."""

NO_GATEWAY = "Gateway not registered"
UNAUTHORIZED = "Unauthorized"
AUTHORIZATION_ERROR = "Authorization error."
INVALID_VERSION = "Invalid protocol version"
SUCCESS = "<nil>"
"""The text of an Ack that accepts: Go prints this for a nil error."""
