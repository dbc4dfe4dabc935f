"""Everything that is tested."""

#: The manager that a journal of a test is about.
MANAGER = "https://manager.example"
