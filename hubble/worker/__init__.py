"""One worker process of hubble-proxy: what the options mean, and the channel to the supervisor.

It is a package of its own because it needs both the descriptions of options and the proxy.

start            what the supervisor runs
worker           a proxy on what the supervisor has bound, and the channel
proxy_options    the options of the public listener
policy_options   the authorizer and the limits
cluster_options  the options of a proxy of several machines
events_options   the event loggers
watching         what watches the proxy: event loggers and the admin listener
"""
