"""The dashboard's files: a package, so that they are installed."""
