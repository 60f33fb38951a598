"""`hubble-agent check`: try the way to the proxy phase by phase."""
