"""The listening side of a link: the HTTP server, its TLS, and the front servers before it.

server       accepts connections and upgrades them to links
doorkeeper   refuses connections when descriptors run out
strict       an HTTP server that parses request heads strictly
head         the parser of a request's head
upgrade      the checks of upgrade requests
fronts       the front servers that are trusted to report the client's address
proxyheader  the PROXY protocol
servertls    the listener's certificate, and client certificates
"""
