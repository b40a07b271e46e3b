"""Generated data with ground truth: action clips, and persons who walk past cameras."""
