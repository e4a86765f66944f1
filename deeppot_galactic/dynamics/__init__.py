"""What a rotating potential is used for: orbits, resonances, the bar, rotation curves."""
