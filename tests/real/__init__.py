"""Importers against the real software that they are for, run outside this project.

A module per platform, named after its importer, with the flows of :mod:`tests.real.flows`. An environment variable
names a server that runs; without it the module's tests are skipped, and say so. ``make real`` runs them all.
docs/platforms.md says what was seen, and how each server was brought up.
"""
