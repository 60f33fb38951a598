"""One worker of the public server: registers gateways, asks the policy about each session, and relays its messages.

proxy        the whole worker, as one object to run
lease        the worker's lease in the directory, and its files in the runtime directory
subscriber   the interface through which a proxy reports its events
gateways     the agents registered at this worker and at others
sessions     opening sessions, and relaying their messages
watch        events, metrics and history: the default subscriber; removing it does not change how a proxy works
http         the WSGI application, and the responses to clients that are not agents
"""
