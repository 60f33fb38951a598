"""One worker process of hubble-proxy: what the options mean, and the channel to the supervisor."""
