"""One worker of the public server: registers gateways, asks the policy about each session, and passes its messages on.

proxy        all of it, as one object to run
lease        a worker's place among the others: its lease in the directory
subscriber   what it tells whoever watches it
gateways     the agents registered here and elsewhere
sessions     from an Initiator to a route, and what passes over it
watch        events, metrics and history: a subscriber, without which a proxy does the same
http         the WSGI application, and what anybody but an agent gets
"""
