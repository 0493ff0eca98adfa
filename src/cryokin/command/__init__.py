"""The command ``cryokin``: a thin front to Snakemake, never a second engine."""
