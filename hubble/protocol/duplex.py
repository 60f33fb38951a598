"""The two streams of a resumable session, as its caller sees them."""

from __future__ import annotations

from hubble.protocol.streams import Incoming, Outgoing


class Duplex:
    """One stream in each direction."""

    def __init__(self, outgoing: Outgoing, incoming: Incoming) -> None:
        self.outgoing = outgoing
        self.incoming = incoming

    @property
    def unsent(self) -> bool:
        """Whether part of the application's stream is still to be sent."""
        return self.outgoing.unsent

    @property
    def waiting(self) -> int:
        """The number of bytes that wait for the local socket."""
        return self.incoming.waiting

    @property
    def kept(self) -> int:
        """The number of sent bytes that the other side has not consumed yet."""
        return self.outgoing.kept

    @property
    def finished(self) -> bool:
        """Whether both directions are complete: the local socket is no longer needed."""
        return self.incoming.complete and self.outgoing.complete
