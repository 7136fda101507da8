"""Recipes, run folders, artifacts and the listeners that follow a run."""
