"""The public API for agentic sessions: one document, one server, interchangeable backends."""
