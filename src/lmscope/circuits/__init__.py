"""Circuits: exact linear graphs of one prompt, traced from any logit, feature or attention score."""
