"""The links between the workers of one proxy, on one machine or on several.

mesh      this worker's links to the others, and calls over them
peer      another worker at the other end of a link
messages  the messages between workers, and the proof that both know the cluster's secret
sockets   the sockets at which workers accept each other's links
tls       mutual TLS between machines
cluster   the settings of a proxy that runs on several machines
"""
