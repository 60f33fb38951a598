"""The wire protocol as pure code: it does no I/O and reads no clock. Callers pass in bytes, messages and times.

messages    the messages on a link, as dataclasses
codec       encoding and decoding, with the control messages
binary      encoding and decoding of the messages of a resumable session
credit      the window that a receiver grants, and the budgets behind it
streams     one direction of a session: the bytes kept for retransmission, the bytes expected
duplex      the two streams of a session
states      the states of a session's path, and a session's events
interface   the interface of a session; the two kinds below implement it
session     one end of a resumable session
legacy/     protocol 0.1: its sessions, texts and limits
pace        the size of the pieces that a sender cuts its bytes into
fairqueue   the order in which a link's waiting messages are written
"""
