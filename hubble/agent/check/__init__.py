"""`hubble-agent check`: test the path to the proxy phase by phase.

check        the phases, from name resolution to a session of the agent with itself
throughput   the service to which the last phase sends bytes
"""
