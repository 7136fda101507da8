"""Classification and choice from few examples, as data: templates, label words, readers, samplers."""
