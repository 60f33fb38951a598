"""The registered agents.

gateway    one of them
admission  the beginning of an agent's link: it says who it is, and gets its name or a refusal
registry   all that are here, and who holds a name elsewhere
limits     bounds that no policy lifts
blocks     the names that an operator has blocked
balance    has idle agents move where this worker has too many
"""
