"""Pictures of any size: cut into windows, predicted, blended, written by rows; memory does not grow with them."""
