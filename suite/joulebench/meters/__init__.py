"""What reads energy: each module here is one meter behind the contract in `base`."""
