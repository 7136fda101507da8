"""An atlas in the formats of other tools."""
