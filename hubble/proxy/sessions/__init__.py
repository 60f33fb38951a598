"""The sessions that cross a worker: opening, routes, relaying, revocation."""
