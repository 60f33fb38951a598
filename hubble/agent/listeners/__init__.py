"""The listeners from which an entry gets its connections.

interface   the interface of a listener, and the data of an accepted connection
tcp         a listener on a TCP port
choose      the choice of a listener for a rule

To add a kind of listener: write a module with a class that implements `interface.Listener`, and name it in `choose`.
"""
