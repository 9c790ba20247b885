"""The command line: commands of the server (serve, keys, spec), and a client that speaks only HTTP.

The modules of commands are imported at every start, so they are light: a command's body imports what it alone needs.
"""
