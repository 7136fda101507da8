"""Labels of latents, and scores that say how far each can be trusted."""
