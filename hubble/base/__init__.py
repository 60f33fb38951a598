"""Code that every other package uses. It imports no other part of Hubble.

errors       every error that Hubble raises on purpose
version      the version of this release
facts        what identifies a session
names        the rules for valid gateway names and keys
networks     the network that an address is counted under where limits are shared
embedded     the IPv4 addresses inside IPv6 ones
files        signatures of files, atomic writes
runtimedir   the private directory that workers share, and every file name in it
slots        small numbers for the workers of a machine
descriptors  descriptors 0 to 2, and the limit of open files
reserve      file descriptors held in reserve
backoff      the delay before the next attempt
keepalive    greenlets that restart after any error
keyedlock    a lock for each key
fairslots    a bounded number of concurrent operations, shared fairly among keys
fairturns    turns at a scarce resource, least blamed party first
threads      functions run in a thread pool, with errors raised in the caller
recent       a set that keeps its latest members only
slices       long computations in short slices
pacing       greenlets started one after the other, in slices
logqueue     log lines for a descriptor that may block
floodlog     bounded log lines about strangers
metrics      metrics that every process has
"""
