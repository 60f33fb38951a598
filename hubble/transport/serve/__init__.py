"""The listening side of a link: the HTTP server, its TLS, and the front servers before it.

server       accepts, and upgrades to links
doorkeeper   accepts while descriptors last
strict       an HTTP server that reads heads strictly
head         the head of a request
upgrade      which requests are upgraded
fronts       which front servers are trusted to name the client
proxyheader  the PROXY protocol
servertls    the listener's certificate, and client certificates
"""
