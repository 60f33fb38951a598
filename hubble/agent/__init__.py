"""The process in a private network: registers with the proxy, forwards by its rules, and connects to destinations.

agent        the whole: starts and stops the parts below, and watches the sessions' deadlines
options      what an agent can be told
identity     its name and key, and the secret by which it proves that it returns
handshake    the beginning of a link: dial, say who it is, be accepted or refused
keeper       keeps a link to a proxy: a state machine that dials, serves, moves and pauses
links        the link that is there now
selfcheck    notices that a proxy of protocol 0.1 has forgotten the agent
dispatch     hands each message to its session, to the entry or to the exit

entry        opens a session for each connection, and resumes those whose path was lost
listeners/   where connections come from
rules        which listener leads to which destination
pending      connections that wait for a session: the bounded, fair queue in front of the entry

exit         connects sessions to destinations near the agent
dials        how many at once, and the bounded, fair queue in front of them
access       which destinations are allowed

sessions     makes sessions, resumable ones or those of protocol 0.1
connection   one local socket and its session
metrics      what an agent counts, and its /metrics
check/       `hubble-agent check`
"""
