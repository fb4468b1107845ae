"""Quality of search methods: hypervolume reached, trials and joules needed, on problems with known answers."""
