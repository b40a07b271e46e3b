"""What pictures are made from: models and data brought to what is drawn."""
