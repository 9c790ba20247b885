"""git, as this server runs it: confined, with a configuration of the server's, on repositories that nobody trusts."""
