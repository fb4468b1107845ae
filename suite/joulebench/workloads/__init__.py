"""What runs: each module here is one workload behind the contract in `base`."""
