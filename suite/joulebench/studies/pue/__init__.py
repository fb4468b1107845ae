"""Effect of PUE (data-centre overhead) and grid on rankings and frontier."""
