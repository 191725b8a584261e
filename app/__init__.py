"""The model service: answers /predict, keeps its metrics, appends one log line per event."""
