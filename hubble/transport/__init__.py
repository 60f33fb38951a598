"""Links: messages over a WebSocket, and the dialing and accepting of links.

link         a link: sends and receives messages, keeps itself alive
linkoptions  the keepalive interval of a link, and the options of its socket
reader       reads a link's messages, in the hub or in a greenlet
writer       writes what the kernel takes at once, and the rest when it takes more
turn         a turn of the hub, at whose end everything waiting is written
peer         the other end of a link
framing      WebSocket frames
stream       a socket that reads and writes without waiting where it can
tlssocket    the same through TLS, with the records in memory
tls          contexts, hardening and handshakes
tlsfaults    explanations of OpenSSL's errors
addresses    sockets, addresses, and connecting to the first address that answers
resolver     name resolution in a dedicated thread pool
hostnames    the rules for valid host names and addresses
endpoint     host and port as one text
bind         binding addresses with the standard library alone
listen       gevent's listening sockets
budget       a token bucket
liveness     detection of disconnected clients
dial/        the dialing side
serve/       the listening side
"""
