"""Tests of what Prometheus, Alertmanager, Grafana, Kibana and Elasticsearch are given."""
