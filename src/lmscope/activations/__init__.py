"""From model and contexts to batches of activations in a fixed order."""
