"""The command lines: arguments, exit statuses, signals and logs. No logic of the tunnel is here.

scripts          the entry points of the installed programs
proxy            hubble-proxy: binds, and runs the supervisor
commands         what hubble-proxy does besides serving
admin_client     the commands that ask a running proxy
admin_options    what the options of the admin listener mean
agent            hubble-agent
check            hubble-agent check
hash_key         hubble-proxy hash-key
keys             where an agent's key comes from
dial_options     what an agent's options of dialling mean
proxy_arguments  the command line of hubble-proxy, for the supervisor and its workers
arguments        parsers made from the descriptions of options
running          exit statuses, and the ports file
eventloop        signals and the garbage collector beside gevent's loop
logs             the format and level of the log
strays           what others write on standard error becomes log lines
tables           numbers and tables for people
"""
