"""Tasks with known answers: prompts, what goes on rightly and wrongly, and what to compare with."""
