"""One worker of the public server: registers gateways, asks the policy about each session, and passes its messages on.

app           the WSGI application: upgrades, health, and what anybody else gets
registration  the beginning of an agent's link
gateways      the agents registered here and elsewhere, and what happens when a name is taken
opening       from an Initiator to a route: policy, gateway, the exit's answer
routes        which two links a session's messages travel between
relay         passes messages on, and tells both sides when one is gone
mesh          links to the other workers, and calls over them
cluster       what makes the worker one of several machines'
balance       has idle agents move where this worker has too many
revocation    asks the policy again about what is live
observer      all that looks on: audit, events, metrics, history
admin         what an operator sees and does
proxy         all of it, as one object to run
"""
