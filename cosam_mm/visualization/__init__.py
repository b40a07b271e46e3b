"""Pictures of what was trained: masks, rank panels, figures and a report.

Arrays and names go in; figures, image arrays and files come out. Nothing here runs a
model or reads a data set.
"""
