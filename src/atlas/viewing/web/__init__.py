"""Shows trajectories and selections in a browser: `runs -> a local web page`."""
