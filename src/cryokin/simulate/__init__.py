"""Images of a known particle, made to show and to test what the methods find."""
