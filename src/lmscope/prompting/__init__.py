"""Prompts tuned without gradients: soft prompts searched for by what a model answers."""
