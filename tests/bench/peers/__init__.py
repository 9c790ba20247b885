"""Other ways to serve the same three operations from the same document, each as its users would write it."""
