"""Find reproducible classes among noisy electron-microscopy particles."""

__version__ = "0.1.0"
