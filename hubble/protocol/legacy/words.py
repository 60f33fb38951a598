"""The texts that protocol 0.1 puts into an Ack. Programs of 0.1 compare them, so they never change."""

NO_GATEWAY = "Gateway not registered"
UNAUTHORIZED = "Unauthorized"
AUTHORIZATION_ERROR = "Authorization error."
INVALID_VERSION = "Invalid protocol version"
SUCCESS = "<nil>"
"""The message of an Ack that accepts: what Go prints for an error that is none."""
