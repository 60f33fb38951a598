"""What the public listener answers to HTTP requests.

app       upgrades are links; health checks; everything else
fallback  what is served to anybody but an agent: a directory, or another server's answers
"""
