"""Protocol 0.1, as the original program speaks it (docs/protocol.md, "Sessions of 0.1")."""
