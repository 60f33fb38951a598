"""`hubble-agent check`: try the path to the proxy phase by phase.

check        the phases, from the resolver to a session of the agent with itself
throughput   the service that the last phase sends bytes to
"""
