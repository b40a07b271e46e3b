"""A trained model in, an answer out: recognition, features, galleries, export."""
