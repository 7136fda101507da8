"""How the latents of dictionaries lie to each other: matching, neighbours, splitting, maps."""
