"""What talks to strangers: the clients for platforms and feeds, and what may be shown of their addresses."""
