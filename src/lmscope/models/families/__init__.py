"""One file a model family; each is found by its name."""
