"""Power caps of a GPU: energy saved and time lost at each cap."""
