"""Iterative stable alignment and clustering of particle images (ISAC)."""
