"""The scaling laws: their forms, the points they are fitted to, and the fits with intervals."""
