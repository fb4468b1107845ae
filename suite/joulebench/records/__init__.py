"""Records of measurements: windows, trials, ledger lines and manifests, and the folder that keeps them."""
