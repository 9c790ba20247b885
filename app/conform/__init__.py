"""The conformance kit: does a server keep the contract of this API? Everything is asked through the API alone."""
