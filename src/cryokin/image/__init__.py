"""Images in two dimensions: geometry, CTF, filters, resampling, polar rows."""
