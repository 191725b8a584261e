"""The store's HTTP side: routes, request bodies, replies in Elasticsearch's shapes."""
