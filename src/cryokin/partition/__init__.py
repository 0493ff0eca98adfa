"""Partitions of particles into classes, whatever the particles are."""
