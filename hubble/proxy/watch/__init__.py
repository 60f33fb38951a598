"""Watches a proxy, as a subscriber (hubble.proxy.subscriber). Nothing here decides anything.

watch     all of it, as one object
reporter  from what the proxy tells to events, metrics and lines in the log
latest    the latest events, for an operator
counts    bytes and messages that have passed
history   a point each 5 s, and the delay of the event loop
metrics   the counters and histograms, and Prometheus' text format
"""
