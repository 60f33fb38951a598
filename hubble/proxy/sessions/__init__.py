"""The sessions that cross a worker.

routes      which two peers a session's messages travel between
opener      from an Initiator to a route: policy, gateway, the exit's answer
excess      holds back an agent that asks for more sessions than it may
relay       passes messages on, and tells both sides when one is gone
record      what is known of one session
registry    the sessions whose entry is here, those that wait for a path included; they expire here
kicks       what an operator ends
revocation  asks the policy again about what is live
ending      ends a session on both sides
"""
