"""The embedded store: the part of Elasticsearch's API that the guide and the console use, on DuckDB."""
