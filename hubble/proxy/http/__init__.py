"""What the proxy's port answers over HTTP: the upgrade to a link, and everything else."""
