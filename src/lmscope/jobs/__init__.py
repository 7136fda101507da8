"""One module, one job: a recipe that wires nouns into a Run."""
