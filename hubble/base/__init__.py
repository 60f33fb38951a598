"""What every other package stands on: errors, versions, files, backoff. It imports no other part of Hubble."""
