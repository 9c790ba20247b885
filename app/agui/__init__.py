"""Pure functions over AG-UI logs: nothing here reads, writes or waits."""
