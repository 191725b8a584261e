"""The sidecar: tails log files and delivers each line once to Elasticsearch."""
