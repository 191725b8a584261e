"""What Prometheus, Alertmanager, Grafana, Kibana and Elasticsearch are given: plain definitions and their builders."""
