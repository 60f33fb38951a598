"""The process in a private network: registers with the proxy, forwards by its rules, and connects to destinations.

agent        the agent as a whole: starts and stops the parts below, and enforces the sessions' deadlines
options      the options of an agent
identity     the agent's name and key, and the secret by which it proves that it returns
handshake    the start of a link: dial and register
keeper       a state machine that keeps a link to a proxy: it dials, serves, moves and pauses
links        the current link
selfcheck    detects that a proxy of protocol 0.1 has forgotten the agent
dispatch     passes each message to its session, to the entry or to the exit

entry        opens a session for each connection, and resumes sessions whose path was lost
listeners/   the sources of connections
rules        forwarding rules: a listener and its destination
pending      connections that wait for a session: a bounded, fair queue in front of the entry
pathrequests sessions that request a path again: a window of unanswered Initiators

exit         connects sessions to destinations near the agent
dials        concurrent dials to destinations, with a bounded, fair queue in front of them
access       the destinations that are allowed

sessions     makes resumable sessions and sessions of protocol 0.1
connection   one local socket and its session
metrics      an agent's counters, and its /metrics
check/       `hubble-agent check`
"""
