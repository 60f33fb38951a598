"""The sessions that cross a worker.

routes      the two peers between which a session's messages travel
opener      opens a session: asks the policy, finds the gateway, waits for the exit's Ack
excess      throttles an agent that requests more sessions than it is allowed
relay       relays messages, and notifies one side when the other is lost
record      the facts and counts of one session
registry    the records of the sessions whose entry is at this worker, including suspended ones, and their expiry
kicks       ends sessions and links on an operator's request
revocation  reauthorizes live gateways and sessions
ending      ends a session on both sides
"""
