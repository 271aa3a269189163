"""What the Trainer calls while it runs."""
