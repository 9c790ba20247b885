"""Every transaction that changes the store."""
