"""The session store: tables, statements and transactions."""
