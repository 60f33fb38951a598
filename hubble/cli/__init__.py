"""The command lines: arguments, exit statuses, signals and logs. No logic of the tunnel is here."""
