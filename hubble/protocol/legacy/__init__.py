"""Protocol 0.1, as the original program speaks it (docs/protocol.md, "Sessions of 0.1").

session   one session, behind the interface that all sessions share
words     the texts of its Acks
data      its Data messages, read without msgpack
limits    the limits that stand in for credit
"""
