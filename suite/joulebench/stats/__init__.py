"""Statistics: estimates with intervals, regression, correlation, bootstrap, dispersion."""
