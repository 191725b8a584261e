"""The web console: Dash on Flask, over the store, the services' own words and, where there is one, Prometheus."""
