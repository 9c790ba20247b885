"""Child processes of this server: what they see of the machine, what they may use, and their end."""
