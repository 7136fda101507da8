"""What every latent of a dictionary means, with the evidence for it."""
