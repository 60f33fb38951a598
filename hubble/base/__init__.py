"""What every other package stands on. It imports no other part of Hubble.

errors       every error that Hubble raises on purpose
version      the version of this release
facts        what identifies a session
names        which gateway names and keys are valid
networks     the network that an address counts for where limits are shared out
embedded     the IPv4 addresses inside IPv6 ones
files        a file's signature, and writing a file atomically
runtimedir   the private directory that workers share, and every name in it
slots        small numbers for the workers of a machine
descriptors  descriptors 0 to 2
backoff      how long to wait before the next attempt
keepalive    greenlets that go on after any error
keyedlock    one greenlet at a time for each key
fairslots    a bounded number of things at once, shared out fairly
fairturns    turns at something scarce, shared out fairly
threads      work in a thread, whose errors are the caller's
recent       a set that remembers its latest members only
slices       long computing in short slices
logqueue     log lines for a descriptor that may block
floodlog     log lines about strangers, bounded
metrics      what every process's metrics share
"""
