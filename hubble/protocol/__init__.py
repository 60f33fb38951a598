"""The wire protocol as pure code: bytes, messages and time are passed in; nothing here does I/O or reads a clock.

messages    what can be said on a link, as dataclasses
codec       messages to bytes and back; the control messages are here
binary      the messages that a resumable session is made of, to bytes and back
credit      how much a receiver allows, and the budgets it allows from
streams     one direction of a session: the bytes kept until they are consumed, the bytes awaited
states      of a session's path, and what happens to a session
interface   what a session is to the code that moves its bytes: the two kinds below implement it
session     one resumable session, seen from one of its two ends
legacy/     protocol 0.1: its sessions, texts and limits
fairqueue   the order in which a link's waiting messages are written
"""
