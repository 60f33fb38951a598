"""The command lines: arguments, exit statuses, signals and logs. The package has no logic of the tunnel.

scripts          the entry points of the installed programs
proxy            hubble-proxy: binds the listeners and runs the supervisor
commands         the commands of hubble-proxy
admin_client     the commands that query a running proxy
admin_options    the listener and token of the administration
agent            hubble-agent
check            hubble-agent check
hash_key         hubble-proxy hash-key
keys             the key of an agent
dial_options     the options of an agent for connecting to the proxy
proxy_arguments  the command line of hubble-proxy, for the supervisor and its workers
arguments        parsers made from the descriptions of options
running          exit statuses and the ports file
eventloop        signals, the garbage collector and gevent's loop
logs             the format and level of the log
strays           turns other output on standard error into log lines
tables           numbers and tables for a terminal
"""
