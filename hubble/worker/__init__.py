"""One worker process of hubble-proxy: builds a proxy from the options, and talks to the supervisor.

It is a separate package because it needs both the descriptions of the options and the proxy.

start            the program that the supervisor runs as a worker
worker           a proxy on the supervisor's listeners, and the worker's end of the channel
proxy_options    the options of the public listener
policy_options   the options of the policy and of the limits
cluster_options  the options of a proxy on several machines
events_options   the options of the event loggers
watching         attaches the event loggers and the admin listener
"""
