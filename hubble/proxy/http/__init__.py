"""The HTTP side of the public listener.

app       dispatches upgrades, health checks and all other requests
fallback  responses to clients that are not agents: 404, or those of another server
"""
