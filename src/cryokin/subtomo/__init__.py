"""Classification of aligned subtomograms by constrained correlation."""
