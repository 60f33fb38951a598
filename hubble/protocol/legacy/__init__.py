"""Protocol 0.1, as the original program speaks it (docs/protocol.md, "Sessions of 0.1").

session   one session, behind the interface that all sessions share
words     the texts of Acks
data      a fast decoder for Data messages
limits    limits in place of credit
"""
