"""The embedded backend: sessions, runs and events in one SQLite file, agents on this machine."""
