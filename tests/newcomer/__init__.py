"""A newcomer's path, by README's commands alone."""
