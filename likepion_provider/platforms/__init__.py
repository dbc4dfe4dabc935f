"""Importers, one file a platform."""
