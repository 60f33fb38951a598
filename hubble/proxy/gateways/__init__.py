"""The registered agents.

gateway    one registered agent
admission  the handshake of an agent's link: the agent gets its name or a refusal
registry   the agents at this worker, and the workers that hold other names
limits     limits that apply regardless of the policy
blocks     the names that an operator has blocked
balance    moves idle agents away from a worker that has too many
"""
