"""What people look at: the gallery of class averages and the page of a run."""
