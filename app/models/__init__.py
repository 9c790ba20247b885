"""Values that cross the port; their field names are the names on the wire."""
