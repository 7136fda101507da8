"""One process with the model, which answers while people wait."""
