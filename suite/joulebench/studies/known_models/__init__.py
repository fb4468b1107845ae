"""Known models against those that a search found, trained and measured in one experiment."""
