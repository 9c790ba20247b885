"""Sessions' workspaces from outside: their files, and how they differ from their beginning. Nobody else opens them."""
