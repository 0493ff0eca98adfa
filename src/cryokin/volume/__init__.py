"""Subtomograms: poses, wedges, band coefficients, averages."""
