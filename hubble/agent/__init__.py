"""The process in a private network: registers with the proxy, forwards by its rules, and connects to destinations."""
