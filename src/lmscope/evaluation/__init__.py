"""Statistics with intervals, and the score of a model under given edits."""
