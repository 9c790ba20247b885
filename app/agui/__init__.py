"""AG-UI events and logs as values: nothing in this package does input or output, or waits."""
