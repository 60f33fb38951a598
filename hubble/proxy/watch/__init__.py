"""Watches a proxy, as a subscriber (hubble.proxy.subscriber). Nothing here decides anything.

watch     the complete subscriber, as one object
reporter  turns the proxy's events into event records, metrics and log lines
latest    the latest events, kept for an operator
counts    total bytes and messages
history   a sample every 5 s, and the lag of the event loop
metrics   the counters and histograms, and Prometheus' text format
"""
