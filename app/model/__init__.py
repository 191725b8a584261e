"""The model: data, training, evaluation, scoring, stored bundles."""
