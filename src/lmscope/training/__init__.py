"""One training loop for every Objective."""
