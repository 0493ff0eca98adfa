"""Particle tables and image files, one module per dialect.

Nothing is imported here, so that reading pixels does not wait for pandas.
"""
