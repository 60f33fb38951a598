"""Two sessions, the entry's and the exit's, and the path between them, so that a test reads like a transcript."""

from __future__ import annotations

from hubble.protocol.codec import decode, encode
from hubble.protocol.credit import Budget, Window
from hubble.protocol.messages import Credit, Done, Eof, Message, Reset, Stream, Suspend, Terms
from hubble.protocol.session import Session
from hubble.protocol.states import Ended, Opened, Resumed, SessionEvent, Suspended

SESSION = bytes(range(16))
SECRET = b"a secret of 16 b"
KIB = 1024
ENDS = ["entry", "exit"]


class Pair:
    """An entry and an exit. Time stands still unless a test moves `now`; nothing flows unless it says so."""

    def __init__(self, *, window: int = 64 * KIB, resume_timeout: float = 60.0) -> None:
        self.now = 1000.0
        self.allow, self.keep = Budget(1 << 30), Budget(1 << 30)
        self.entry, self.exit = (
            Session(
                SESSION,
                from_exit=from_exit,
                secret=SECRET,
                window=Window(self.allow, initial=window),
                keep=self.keep,
                resume_timeout=resume_timeout,
            )
            for from_exit in (False, True)
        )

    @classmethod
    def opened(cls, **options: int | float) -> Pair:
        """A pair whose path is open, with no event left."""
        pair = cls(**options)  # type: ignore[arg-type]
        assert pair.connect()
        assert pair.events() == ["entry Opened", "exit Opened"]
        return pair

    def end(self, name: str) -> Session:
        """One end by its name."""
        return self.exit if name == "exit" else self.entry

    def other(self, end: Session) -> Session:
        """The end that is not this one."""
        return self.exit if end is self.entry else self.entry

    def connect(self) -> bool:
        """The Initiator and its Ack pass; whether the entry took the Ack."""
        return self.answer(self.entry.connect(self.now))

    def answer(self, terms: Terms) -> bool:
        """An Initiator with these terms reaches the exit, and its Ack the entry; whether both were taken."""
        answer = self.exit.accept(terms, self.now)
        return answer is not None and self.entry.connected(answer, self.now)

    def lose_path(self, why: str = "the link was lost") -> None:
        """Both ends learn that the path is gone."""
        self.entry.path_lost(self.now, why)
        self.exit.path_lost(self.now, why)

    def send(self, end: Session, most: int = 64 * KIB) -> list[Message]:
        """All that one end has to send; it is on its way, and lost unless a test delivers it."""
        messages = []
        while message := end.next_message(most):
            messages.append(message)
        return messages

    def deliver(self, end: Session, messages: list[Message]) -> None:
        """Messages reach an end, through the codec."""
        for message in messages:
            end.receive(decode(encode(message)), self.now)

    def flow(self, most: int = 64 * KIB) -> list[str]:
        """Let everything flow until both ends are silent; what was said, in order, the entry's first."""
        transcript: list[str] = []
        while True:
            said = []
            for end in (self.entry, self.exit):
                messages = self.send(end, most)
                said += [describe(message) for message in messages]
                self.deliver(self.other(end), messages)
            if not said:
                return transcript
            transcript += said

    def read(self, end: Session) -> bytes:
        """The local socket of one end takes all the bytes there are."""
        whole = b""
        while (chunk := end.next_bytes()) is not None:
            whole += chunk
            end.consumed(len(chunk), self.now)
        return whole

    def read_end(self, end: Session) -> None:
        """The local socket of one end is told the end of the stream, which must have come."""
        assert end.stream_ended
        end.consumed(1, self.now)

    def wait(self, seconds: float) -> None:
        """Time passes, and both ends hear of it."""
        self.now += seconds
        self.entry.expire(self.now)
        self.exit.expire(self.now)

    def events(self) -> list[str]:
        """What has happened to both since the last call, the entry's first."""
        return [
            f"{name} {shown(event)}"
            for name, end in (("entry", self.entry), ("exit", self.exit))
            for event in end.events()
        ]

    @property
    def budgets(self) -> tuple[int, int]:
        """What is taken of the two budgets: credit, and bytes kept."""
        return self.allow.taken, self.keep.taken


def describe(message: Message) -> str:
    """One line of a transcript."""
    match message:
        case Stream(_, from_exit, offset, payload):
            shown = repr(bytes(payload)) if len(payload) <= 20 else f"{len(payload)} bytes"
            return f"{side(from_exit)} STREAM {offset} {shown}"
        case Credit(_, from_exit, received, limit):
            return f"{side(from_exit)} CREDIT {received} {limit}"
        case Eof(_, from_exit, offset):
            return f"{side(from_exit)} EOF {offset}"
        case Reset(_, from_exit, reason, text):
            return f"{side(from_exit)} RESET {reason.name} {text}".rstrip()
        case Done(_, from_exit) | Suspend(_, from_exit):
            return f"{side(from_exit)} {type(message).__name__.upper()}"
    raise AssertionError(f"a session does not say {message}")


def side(from_exit: bool) -> str:
    return "exit" if from_exit else "entry"


def shown(event: SessionEvent) -> str:
    """An event in a word or two."""
    match event:
        case Opened():
            return "Opened"
        case Suspended():
            return "Suspended"
        case Resumed(seconds):
            return f"Resumed after {seconds:g}"
        case Ended(None):
            return "Ended"
        case Ended(reason):
            assert reason is not None
            return f"Ended {reason.name}"
