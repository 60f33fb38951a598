"""The listening side of a link: the HTTP server, its TLS, and the front servers before it."""
