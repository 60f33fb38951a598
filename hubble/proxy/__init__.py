"""The public server: registers gateways, asks the policy about each session, and passes its messages on.

app       the WSGI application: upgrades, health, and what anybody else gets
gateways  the agents registered here, and what happens when a name is taken
routes    which two links a session's messages travel between
opening   from an Initiator to a route: policy, gateway, the exit's answer
relay     passes messages on, and tells both sides when one is gone
proxy     all of it, as one object to run
"""
