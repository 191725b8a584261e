"""What the service measures about itself and its model."""
