"""The bench: what a governed call costs, as ratios in one run beside nginx and LiteLLM."""
