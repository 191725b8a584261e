"""A real Elasticsearch for the tests: the distribution, the process, and what proves the index template and policy."""
