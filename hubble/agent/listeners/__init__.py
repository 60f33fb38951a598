"""Where an entry's connections come from.

interface   what a listener is, and what it hands over for each connection
tcp         a TCP port
choose      the listener that a rule asks for

To add a kind of listener: write a module with a class that implements `interface.Listener`, and name it in `choose`.
"""
