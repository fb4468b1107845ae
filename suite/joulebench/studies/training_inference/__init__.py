"""Training against inference: which model costs least in all at which volume of use."""
