"""What everything else stands on: errors, configuration, sites, random streams, names of axes."""
