"""Stand-ins for the vendors' images, made from Debian's packages and the vendor's own Elasticsearch."""
