"""The search for a form: which model, pruned how far, in which precision, meets a budget and a tolerance."""
