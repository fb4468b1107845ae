"""Energy meters: one module a meter, behind the contract in `base`."""
