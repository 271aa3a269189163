"""The paper's figures, drawn from networks and predictions."""
